package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"cloud.google.com/go/compute/metadata"
	kmsapi "cloud.google.com/go/kms/apiv1"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/getsops/sops/v3/azkv"
	"github.com/getsops/sops/v3/gcpkms"
	"github.com/getsops/sops/v3/hcvault"
	"github.com/getsops/sops/v3/kms"
	vault "github.com/hashicorp/vault/api"
	"golang.org/x/oauth2/google/externalaccount"
	"weir.dev/pipe"
)

// Annotations of a ServiceAccount that say who it is in a cloud, and what they
// have to look like.
const (
	roleOfAWS       = "eks.amazonaws.com/role-arn"
	tenantOfAzure   = "azure.workload.identity/tenant-id"
	clientOfAzure   = "azure.workload.identity/client-id"
	accountOfGoogle = "iam.gke.io/gcp-service-account"
	providerGoogle  = "gcp.auth.fluxcd.io/workload-identity-provider"
)

var (
	awsRole        = regexp.MustCompile(`^arn:aws[\w-]*:iam::[0-9]{1,30}:role/.{1,200}$`)
	awsRegion      = regexp.MustCompile(`^arn:aws[\w-]*:kms:(.+):[0-9]+:(?:key|alias)/.+$`)
	googleAccount  = regexp.MustCompile(`^[a-zA-Z0-9-]{1,100}@[a-zA-Z0-9-]{1,100}\.iam\.gserviceaccount\.com$`)
	googleProvider = regexp.MustCompile(`^projects/\d{1,30}/locations/global/workloadIdentityPools/[^/]{1,100}/providers/[^/]{1,100}$`)
)

// identity is who a build is in a cloud. It knows nothing itself: the agent is
// asked for annotations and tokens once a key service needs them.
type identity struct {
	wire *pipe.Wire
	// account is the ServiceAccount, as namespace/name, whose identity is used;
	// "" for the agent's own.
	account string
	// vaults are tokens by the address of the server that has issued them.
	vaults map[string]hcvault.Token
	// roles are credentials of AWS by their region.
	roles map[string]*kms.CredentialsProvider
}

func newIdentity(w *pipe.Wire, account string) *identity {
	return &identity{wire: w, account: account, vaults: map[string]hcvault.Token{}, roles: map[string]*kms.CredentialsProvider{}}
}

type question struct {
	Type     string `json:"type"`
	Audience string `json:"audience,omitempty"`
	Address  string `json:"address,omitempty"`
}

type answer struct {
	Annotations map[string]string `json:"annotations"`
	Token       string            `json:"token"`
	LoginPath   string            `json:"loginPath"`
	Role        string            `json:"role"`
	Refused     string            `json:"refused"`
}

func (i *identity) ask(q question) (answer, error) {
	var a answer
	if err := i.wire.Send(q); err != nil {
		return a, err
	}
	if _, err := i.wire.Receive(&a); err != nil {
		return a, err
	}
	if a.Refused != "" {
		return a, errors.New(a.Refused)
	}
	return a, nil
}

// annotation is one of the ServiceAccount's, checked against its form.
func (i *identity) annotation(annotations map[string]string, key string, form *regexp.Regexp) (string, error) {
	value := annotations[key]
	if !form.MatchString(value) {
		return "", fmt.Errorf("invalid %s annotation of service account '%s': '%s'. must match %s", key, i.account, value, form)
	}
	return value, nil
}

func (i *identity) token(audience string) (string, error) {
	a, err := i.ask(question{Type: "token", Audience: audience})
	return a.Token, err
}

// aws gives credentials of the ServiceAccount's role, for the key's region.
func (i *identity) aws(ctx context.Context, arn string) (*kms.CredentialsProvider, error) {
	region := ""
	if m := awsRegion.FindStringSubmatch(arn); m != nil {
		region = m[1]
	}
	if known, ok := i.roles[region]; ok {
		return known, nil
	}
	a, err := i.ask(question{Type: "account"})
	if err != nil {
		return nil, err
	}
	role, err := i.annotation(a.Annotations, roleOfAWS, awsRole)
	if err != nil {
		return nil, err
	}
	settings, err := config.LoadDefaultConfig(ctx, config.WithRegion(region), config.WithCredentialsProvider(aws.AnonymousCredentials{}))
	if err != nil {
		return nil, err
	}
	namespace, name, _ := strings.Cut(i.account, "/")
	provider := stscreds.NewWebIdentityRoleProvider(sts.NewFromConfig(settings), role, subject(func() (string, error) {
		return i.token("sts.amazonaws.com")
	}), func(o *stscreds.WebIdentityRoleOptions) {
		o.RoleSessionName = fmt.Sprintf("%s.%s.%s.fluxcd.io", name, namespace, region)
		o.RoleSessionName = o.RoleSessionName[max(0, len(o.RoleSessionName)-64):]
	})
	// Asked for here, so that the pipe is used by one goroutine at a time.
	found, err := provider.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	i.roles[region] = kms.NewCredentialsProvider(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return found, nil
	}))
	return i.roles[region], nil
}

// subject gives a token of the ServiceAccount.
type subject func() (string, error)

// GetIdentityToken is what AWS' library calls.
func (s subject) GetIdentityToken() ([]byte, error) {
	token, err := s()
	return []byte(token), err
}

// SubjectToken is what Google's library calls.
func (s subject) SubjectToken(context.Context, externalaccount.SupplierOptions) (string, error) {
	return s()
}

func (i *identity) azure() (*azkv.TokenCredential, error) {
	a, err := i.ask(question{Type: "account"})
	if err != nil {
		return nil, err
	}
	for _, key := range []string{tenantOfAzure, clientOfAzure} {
		if a.Annotations[key] == "" {
			return nil, fmt.Errorf("the annotation %s is not set in the service account '%s'", key, i.account)
		}
	}
	assertion, err := i.token("api://AzureADTokenExchange")
	if err != nil {
		return nil, err
	}
	credential, err := azidentity.NewClientAssertionCredential(a.Annotations[tenantOfAzure], a.Annotations[clientOfAzure],
		func(context.Context) (string, error) { return assertion, nil },
		&azidentity.ClientAssertionCredentialOptions{DisableInstanceDiscovery: os.Getenv("AZURE_AUTHORITY_HOST") != ""})
	if err != nil {
		return nil, err
	}
	return azkv.NewTokenCredential(credential), nil
}

func (i *identity) google(ctx context.Context) (*gcpkms.TokenSource, error) {
	a, err := i.ask(question{Type: "account"})
	if err != nil {
		return nil, err
	}
	audience, target, err := i.audienceOfGoogle(ctx, a.Annotations)
	if err != nil {
		return nil, err
	}
	settings := externalaccount.Config{
		UniverseDomain:   "googleapis.com",
		Audience:         target,
		SubjectTokenType: "urn:ietf:params:oauth:token-type:jwt",
		TokenURL:         "https://sts.googleapis.com/v1/token",
		Scopes:           kmsapi.DefaultAuthScopes(),
	}
	if a.Annotations[accountOfGoogle] != "" {
		email, err := i.annotation(a.Annotations, accountOfGoogle, googleAccount)
		if err != nil {
			return nil, err
		}
		settings.ServiceAccountImpersonationURL = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" + email + ":generateAccessToken"
	}
	token, err := i.token(audience)
	if err != nil {
		return nil, err
	}
	settings.SubjectTokenSupplier = subject(func() (string, error) { return token, nil })
	source, err := externalaccount.NewTokenSource(ctx, settings)
	if err != nil {
		return nil, err
	}
	found := gcpkms.NewTokenSource(source)
	return &found, nil
}

// audienceOfGoogle is whom a token is for and who exchanges it: the provider
// that the ServiceAccount names, else that of the GKE cluster around.
func (i *identity) audienceOfGoogle(ctx context.Context, annotations map[string]string) (string, string, error) {
	if annotations[providerGoogle] != "" {
		provider, err := i.annotation(annotations, providerGoogle, googleProvider)
		return "//iam.googleapis.com/" + provider, "//iam.googleapis.com/" + provider, err
	}
	var found [3]string
	for n, entry := range []string{"project/project-id", "instance/attributes/cluster-location", "instance/attributes/cluster-name"} {
		value, err := metadata.NewClient(nil).GetWithContext(ctx, entry)
		if err != nil || value == "" {
			return "", "", fmt.Errorf("the service account '%s' has no annotation %s, and this is no GKE cluster that would say who it is", i.account, providerGoogle)
		}
		found[n] = value
	}
	pool := found[0] + ".svc.id.goog"
	cluster := fmt.Sprintf("https://container.googleapis.com/v1/projects/%s/locations/%s/clusters/%s", found[0], found[1], found[2])
	return pool, "identitynamespace:" + pool + ":" + cluster, nil
}

// vault logs in to a server that the agent trusts, with a token of the
// ServiceAccount for that server alone.
func (i *identity) vault(ctx context.Context, address string) (hcvault.Token, error) {
	if token, ok := i.vaults[address]; ok {
		return token, nil
	}
	a, err := i.ask(question{Type: "vault", Address: address})
	if err != nil {
		return "", err
	}
	settings := vault.DefaultConfig()
	settings.Address = address
	client, err := vault.NewClient(settings)
	if err != nil {
		return "", err
	}
	client.ClearToken()
	found, err := client.Logical().WriteWithContext(ctx, a.LoginPath, map[string]any{"role": a.Role, "jwt": a.Token})
	if err != nil {
		return "", fmt.Errorf("logging in at %s as role %s: %w", a.LoginPath, a.Role, err)
	}
	if found == nil || found.Auth == nil || found.Auth.ClientToken == "" {
		return "", fmt.Errorf("logging in at %s as role %s: the server gives no token", a.LoginPath, a.Role)
	}
	token := hcvault.Token(found.Auth.ClientToken)
	i.vaults[address] = token
	return token, nil
}
