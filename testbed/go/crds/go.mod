// Nothing is compiled here: these modules carry the custom resource definitions that the tests install.
module weir/testbed/crds

go 1.26.0

require (
	github.com/fluxcd/flagger v1.44.0
	github.com/fluxcd/kustomize-controller v1.9.4
	github.com/fluxcd/source-controller v1.9.4
	sigs.k8s.io/gateway-api v1.6.3
)
