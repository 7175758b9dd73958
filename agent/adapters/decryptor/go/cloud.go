package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/getsops/sops/v3/azkv"
	"github.com/getsops/sops/v3/gcpkms"
	"github.com/getsops/sops/v3/hcvault"
	"github.com/getsops/sops/v3/keyservice"
	"github.com/getsops/sops/v3/kms"
)

// cloud holds what key services are asked with. Where nothing is given, it is
// the identity of a ServiceAccount, or else what the libraries find out about
// that of the process itself. To Vault, whose address the encrypted text
// decides, a token is never sent unless the agent trusts the server.
type cloud struct {
	own   *identity
	vault hcvault.Token
	aws   *kms.CredentialsProvider
	azure *azkv.TokenCredential
	gcp   *gcpkms.TokenSource
}

func (c *cloud) add(ctx context.Context, name string, value []byte) error {
	switch name {
	case entryVault:
		c.vault = hcvault.Token(strings.TrimSpace(string(value)))
		return nil
	case entryAWS:
		return c.addAWS(value)
	case entryAzure:
		return c.addAzure(value)
	}
	return c.addGCP(ctx, value)
}

func (c *cloud) decrypt(ctx context.Context, req *keyservice.DecryptRequest) (string, []byte, error) {
	switch k := req.Key.GetKeyType().(type) {
	case *keyservice.Key_VaultKey:
		return c.decryptVault(ctx, k.VaultKey, req.Ciphertext)
	case *keyservice.Key_KmsKey:
		return c.decryptAWS(ctx, k.KmsKey, req.Ciphertext)
	case *keyservice.Key_AzureKeyvaultKey:
		return c.decryptAzure(ctx, k.AzureKeyvaultKey, req.Ciphertext)
	case *keyservice.Key_GcpKmsKey:
		return c.decryptGCP(ctx, k.GcpKmsKey, req.Ciphertext)
	}
	return "a key", nil, fmt.Errorf("of a kind that is not supported")
}

func (c *cloud) decryptVault(ctx context.Context, k *keyservice.VaultKey, text []byte) (string, []byte, error) {
	name := fmt.Sprintf("Vault %s/%s/%s", strings.TrimSuffix(k.VaultAddress, "/"), k.EnginePath, k.KeyName)
	token := c.vault
	if token == "" {
		found, err := c.own.vault(ctx, k.VaultAddress)
		if err != nil {
			return name, nil, err
		}
		token = found
	}
	key := hcvault.MasterKey{VaultAddress: k.VaultAddress, EnginePath: k.EnginePath, KeyName: k.KeyName, EncryptedKey: string(text)}
	token.ApplyToMasterKey(&key)
	plain, err := key.DecryptContext(ctx)
	return name, plain, err
}

func (c *cloud) decryptAWS(ctx context.Context, k *keyservice.KmsKey, text []byte) (string, []byte, error) {
	key := kms.MasterKey{Arn: k.Arn, Role: k.Role, EncryptedKey: string(text), EncryptionContext: map[string]*string{}}
	for name, value := range k.Context {
		key.EncryptionContext[name] = &value
	}
	name := "AWS " + k.Arn
	if c.aws == nil && c.own.account != "" {
		found, err := c.own.aws(ctx, k.Arn)
		if err != nil {
			return name, nil, err
		}
		found.ApplyToMasterKey(&key)
	} else if c.aws != nil {
		c.aws.ApplyToMasterKey(&key)
	}
	plain, err := key.DecryptContext(ctx)
	return name, plain, err
}

func (c *cloud) decryptAzure(ctx context.Context, k *keyservice.AzureKeyVaultKey, text []byte) (string, []byte, error) {
	key := azkv.MasterKey{VaultURL: k.VaultUrl, Name: k.Name, Version: k.Version, EncryptedKey: string(text)}
	name := "Azure " + key.ToString()
	if c.azure == nil && c.own.account != "" {
		found, err := c.own.azure()
		if err != nil {
			return name, nil, err
		}
		c.azure = found
	}
	if c.azure != nil {
		c.azure.ApplyToMasterKey(&key)
	}
	plain, err := key.DecryptContext(ctx)
	return name, plain, err
}

func (c *cloud) decryptGCP(ctx context.Context, k *keyservice.GcpKmsKey, text []byte) (string, []byte, error) {
	key := gcpkms.MasterKey{ResourceID: k.ResourceId, EncryptedKey: string(text)}
	name := "Google " + k.ResourceId
	if c.gcp == nil && c.own.account != "" {
		found, err := c.own.google(ctx)
		if err != nil {
			return name, nil, err
		}
		c.gcp = found
	}
	if c.gcp != nil {
		c.gcp.ApplyToMasterKey(&key)
	}
	plain, err := key.DecryptContext(ctx)
	return name, plain, err
}
