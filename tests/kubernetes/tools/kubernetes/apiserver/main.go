// The Kubernetes API server, unchanged: this file only gives `go build` a main package of ours,
// because k8s.io/kubernetes cannot be installed by `go install` (its go.mod has replace lines).
package main

import (
	"os"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}
