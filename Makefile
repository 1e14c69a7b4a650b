.PHONY: protos
protos: ## Generate the gRPC code from runtime/shoal/protocol/*.proto
	.venv/bin/python -m grpc_tools.protoc -I runtime --python_out=runtime --pyi_out=runtime --grpc_python_out=runtime runtime/shoal/protocol/head.proto runtime/shoal/protocol/node.proto
