package chaos

import (
	"context"
	"errors"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
	"github.com/LogicIQ/konductor/e2e/install"
	"github.com/LogicIQ/konductor/operator"
)

// TestCluster is a control plane of two API servers with konductor's CRDs. It runs one campaign at a time.
type TestCluster struct {
	controlPlane   *cluster.ControlPlane
	operatorConfig *rest.Config
	client         client.Client
	kube           kubernetes.Interface
	adminUser      string // the user that objects impersonates
	podRole        string // the ClusterRole of Pods
	campaignCount  int
}

// NewTestCluster starts a control plane and installs the chart. With withoutStatusValidation it installs only CRDs, without the
// rules with which the API server rejects a wrong status of a primitive, so that it is up to the operator, and to the checks,
// that the guarantees hold.
func NewTestCluster(ctx context.Context, withoutStatusValidation bool, log func(format string, args ...any)) (_ *TestCluster, err error) {
	plane, err := cluster.StartControlPlane(ctx, cluster.ControlPlaneOptions{ControllerManager: true, SecondAPIServer: true, Log: log})
	if err != nil {
		return nil, fmt.Errorf("starting the control plane: %w", err)
	}
	s := &TestCluster{controlPlane: plane}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.operatorConfig, err = s.install(ctx, withoutStatusValidation, log); err != nil {
		return nil, fmt.Errorf("installing konductor: %w", err)
	}
	scheme, err := operator.NewScheme()
	if err != nil {
		return nil, err
	}
	if s.client, err = client.New(plane.Config(), client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	if s.kube, err = kubernetes.NewForConfig(plane.Config()); err != nil {
		return nil, err
	}
	review, err := s.kube.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	s.adminUser = review.Status.UserInfo.Username
	return s, nil
}

// install returns the config for operators.
func (s *TestCluster) install(ctx context.Context, withoutStatusValidation bool, log func(format string, args ...any)) (*rest.Config, error) {
	if withoutStatusValidation {
		s.podRole = "cluster-admin"
		if err := install.CRDs(ctx, s.controlPlane, removeStatusValidation); err != nil {
			return nil, err
		}
		return install.CreateOperatorAccount(ctx, s.controlPlane.Config())
	}
	s.podRole = "konductor-participant"
	tools, err := toolchain.Open(log)
	if err != nil {
		return nil, err
	}
	config, err := install.ChartWithoutOperator(ctx, tools, s.controlPlane)
	if err != nil {
		return nil, err
	}
	return config, install.AllowLeaderElectionEverywhere(ctx, s.controlPlane.Config())
}

// Close stops the control plane.
func (s *TestCluster) Close() error { return s.controlPlane.Close() }

// removeStatusValidation removes the rules by which the API server rejects a wrong status. Those on claims stay: that an ended
// claim can't be renewed is a guarantee of the API itself.
func removeStatusValidation(crd *apiextensionsv1.CustomResourceDefinition) {
	if kind := crd.Spec.Names.Kind; kind == "Claim" || kind == "Arrival" {
		return
	}
	for _, version := range crd.Spec.Versions {
		removeRules(version.Schema.OpenAPIV3Schema)
	}
}

// removeRules removes the rules everywhere in a schema.
func removeRules(schema *apiextensionsv1.JSONSchemaProps) {
	schema.XValidations = nil
	for name, property := range schema.Properties {
		removeRules(&property)
		schema.Properties[name] = property
	}
	if schema.Items != nil {
		removeRules(schema.Items.Schema)
	}
	if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil {
		removeRules(schema.AdditionalProperties.Schema)
	}
}
