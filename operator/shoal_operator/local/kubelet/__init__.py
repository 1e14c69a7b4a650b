"""The process kubelet: runs the containers of pods as local processes."""
