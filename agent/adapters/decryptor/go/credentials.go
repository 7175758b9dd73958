package main

import (
	"context"
	"errors"

	"cloud.google.com/go/kms/apiv1"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azcloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/getsops/sops/v3/azkv"
	"github.com/getsops/sops/v3/gcpkms"
	awskms "github.com/getsops/sops/v3/kms"
	"go.yaml.in/yaml/v3"
	"golang.org/x/oauth2/google"
)

func (c *cloud) addAWS(value []byte) error {
	var given struct {
		ID      string `yaml:"aws_access_key_id"`
		Secret  string `yaml:"aws_secret_access_key"`
		Session string `yaml:"aws_session_token"`
	}
	if err := yaml.Unmarshal(value, &given); err != nil || given.ID == "" || given.Secret == "" {
		return errors.New("it has to be YAML with aws_access_key_id and aws_secret_access_key")
	}
	c.aws = awskms.NewCredentialsProvider(credentials.NewStaticCredentialsProvider(given.ID, given.Secret, given.Session))
	return nil
}

// azureAccount is a service principal or a managed identity, in the spelling
// of Azure's SDK or, with appId, tenant and password, of its command line.
type azureAccount struct {
	Tenant      string `yaml:"tenantId"`
	Client      string `yaml:"clientId"`
	Secret      string `yaml:"clientSecret"`
	Certificate string `yaml:"clientCertificate"`
	Password    string `yaml:"clientCertificatePassword"`
	SendChain   bool   `yaml:"clientCertificateSendChain"`
	Authority   string `yaml:"authorityHost"`

	CliClient string `yaml:"appId"`
	CliTenant string `yaml:"tenant"`
	CliSecret string `yaml:"password"`
}

func (c *cloud) addAzure(value []byte) error {
	var given azureAccount
	if err := yaml.Unmarshal(value, &given); err != nil {
		return errors.New("it has to be YAML")
	}
	token, err := given.credential()
	if err != nil {
		return err
	}
	c.azure = azkv.NewTokenCredential(token)
	return nil
}

func (a azureAccount) credential() (azcore.TokenCredential, error) {
	options := azcore.ClientOptions{Cloud: azcloud.AzurePublic}
	if a.Authority != "" {
		options.Cloud = azcloud.Configuration{
			ActiveDirectoryAuthorityHost: a.Authority, Services: map[azcloud.ServiceName]azcloud.ServiceConfiguration{},
		}
	}
	// Somebody who names an authority trusts it; asking Microsoft about it would fail in a cloud without the internet.
	trusted := a.Authority != ""
	switch {
	case a.Tenant != "" && a.Client != "" && a.Secret != "":
		return secretCredential(a.Tenant, a.Client, a.Secret, options, trusted)
	case a.Tenant != "" && a.Client != "" && a.Certificate != "":
		certificates, key, err := azidentity.ParseCertificates([]byte(a.Certificate), []byte(a.Password))
		if err != nil {
			return nil, errors.New("clientCertificate is not PEM or PKCS#12 with a private key, or clientCertificatePassword is wrong")
		}
		return azidentity.NewClientCertificateCredential(a.Tenant, a.Client, certificates, key,
			&azidentity.ClientCertificateCredentialOptions{
				ClientOptions: options, SendCertificateChain: a.SendChain, DisableInstanceDiscovery: trusted,
			})
	case a.CliTenant != "" && a.CliClient != "" && a.CliSecret != "":
		return secretCredential(a.CliTenant, a.CliClient, a.CliSecret, options, trusted)
	case a.Client != "":
		return azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
			ID: azidentity.ClientID(a.Client), ClientOptions: options,
		})
	}
	return nil, errors.New("it needs tenantId, clientId and clientSecret or clientCertificate, or clientId alone for a managed identity")
}

func secretCredential(tenant, client, secret string, options azcore.ClientOptions, trusted bool) (azcore.TokenCredential, error) {
	return azidentity.NewClientSecretCredential(tenant, client, secret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: trusted})
}

func (c *cloud) addGCP(ctx context.Context, value []byte) error {
	// Other types name files and addresses that the library would read here and send there.
	found, err := google.CredentialsFromJSONWithType(ctx, value, google.ServiceAccount, kms.DefaultAuthScopes()...)
	if err != nil {
		return errors.New("it has to be the JSON of a service account's key")
	}
	source := gcpkms.NewTokenSource(found.TokenSource)
	c.gcp = &source
	return nil
}
