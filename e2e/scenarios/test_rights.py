"""What programs may ask of the API server: nothing."""

from __future__ import annotations

from e2e import manifests
from e2e.world import World

ASK = """
    import os
    import pathlib
    import ssl
    import urllib.error
    import urllib.request
    import shoal

    ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")

    def look(place):
        found = [ACCOUNT.exists(), "KUBECONFIG" in os.environ]
        url = f"{os.environ['SERVER']}/api/v1/namespaces/{os.environ['NAMESPACE']}/secrets"
        try:
            urllib.request.urlopen(url, timeout=10, context=ssl._create_unverified_context())
            answer = 200
        except urllib.error.HTTPError as error:
            answer = error.code
        print(f"{place}: {found} {answer}", flush=True)
        return f"{place}: {found} {answer}"

    print(look("driver"))
    print(shoal.get(shoal.remote(num_cpus=1)(look).remote("task")), flush=True)
"""


def test_programs_have_no_rights_in_kubernetes(world: World) -> None:
    server = world.kubectl("config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}")
    words = {"SERVER": server.strip(), "NAMESPACE": world.namespace}
    group = [{"name": key, "value": value} for key, value in words.items()]
    template = manifests.template(containers=[{"name": "shoal", "env": group}])
    world.start_job(ASK, groups=(manifests.group(template=template),), env=group)
    output = world.finish()["status"]["outputTail"]
    for place in ("driver", "task"):
        assert any(f"{place}: [False, False] {code}" in output for code in (401, 403)), output
    for seen in world.pods.all():
        assert seen.object["spec"]["automountServiceAccountToken"] is False, seen.name
