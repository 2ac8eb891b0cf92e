package apiclient

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

// NewRESTClients returns a REST client of each group version, for the types of that scheme. All of them share one HTTP
// client, and so its connections.
func NewRESTClients(config *rest.Config, scheme *runtime.Scheme, versions ...schema.GroupVersion) (map[schema.GroupVersion]*rest.RESTClient, error) {
	config = rest.CopyConfig(config)
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", config.Host, err)
	}
	clients := map[schema.GroupVersion]*rest.RESTClient{}
	for _, gv := range versions {
		config.GroupVersion, config.APIPath = &gv, "/apis"
		if gv.Group == "" {
			config.APIPath = "/api"
		}
		if clients[gv], err = rest.RESTClientForConfigAndClient(config, client); err != nil {
			return nil, fmt.Errorf("connecting to %s: %w", config.Host, err)
		}
	}
	return clients, nil
}
