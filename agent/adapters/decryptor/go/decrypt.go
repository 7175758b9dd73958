package main

import (
	"fmt"
	"strings"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/keyservice"
	"github.com/getsops/sops/v3/stores/dotenv"
	"github.com/getsops/sops/v3/stores/ini"
	"github.com/getsops/sops/v3/stores/json"
	"github.com/getsops/sops/v3/stores/yaml"
)

// store reads and writes one format.
type store interface {
	sops.EncryptedFileLoader
	sops.PlainFileEmitter
}

func storeFor(format string) (store, error) {
	settings := config.NewStoresConfig()
	switch format {
	case "yaml":
		return yaml.NewStore(&settings.YAML), nil
	case "json":
		return json.NewStore(&settings.JSON), nil
	case "dotenv":
		return dotenv.NewStore(&settings.Dotenv), nil
	case "ini":
		return ini.NewStore(&settings.INI), nil
	case "binary":
		return json.NewBinaryStore(&settings.JSONBinary), nil
	}
	return nil, failf(kindInternal, "unknown format %q", format)
}

// decrypt turns an encrypted text in one format into plain text in another.
// The message authentication code is not looked at: kustomize changes objects
// between their encryption and this.
func decrypt(keys *keyring, text []byte, input, output string) (plain []byte, err error) {
	defer func() {
		// Malformed input can make SOPS panic; what it says then may quote the input.
		if recover() != nil {
			err = failf(kindText, "cannot decrypt %s to %s: the text is not as sops writes it", input, output)
		}
	}()
	from, err := storeFor(input)
	if err != nil {
		return nil, err
	}
	to, err := storeFor(output)
	if err != nil {
		return nil, err
	}
	tree, err := from.LoadEncryptedFile(text)
	if err != nil {
		return nil, failf(kindText, "cannot read it as encrypted %s: %s", input, explained(err))
	}
	service := keys.service()
	dataKey, err := tree.Metadata.GetDataKeyWithKeyServices(
		[]keyservice.KeyServiceClient{keyservice.NewCustomLocalClient(service)}, sops.DefaultDecryptionOrder)
	if err != nil {
		return nil, service.failure(&tree.Metadata)
	}
	cipher := &namingCipher{Cipher: aes.NewCipher()}
	if _, err := tree.Decrypt(dataKey, cipher); err != nil {
		return nil, cipher.failure(err)
	}
	plain, err = to.EmitPlainFile(tree.Branches)
	if err != nil {
		return nil, failf(kindText, "it was encrypted as %s and cannot be written as %s: the name's ending has to fit the content", input, output)
	}
	return plain, nil
}

// explained is what SOPS says about a text that it cannot load, which is about
// its form and its metadata.
func explained(err error) string {
	text := err.Error()
	if user, ok := err.(sops.UserError); ok {
		text = user.UserError()
	}
	return strings.Join(strings.Fields(text), " ")
}

// namingCipher remembers which value could not be decrypted. SOPS itself would
// show the value, which may be plain text, and not its place.
type namingCipher struct {
	sops.Cipher
	place     string
	encrypted bool
}

func (c *namingCipher) Decrypt(text string, key []byte, place string) (any, error) {
	plain, err := c.Cipher.Decrypt(text, key, place)
	if err != nil {
		c.place = strings.ReplaceAll(strings.TrimSuffix(place, ":"), ":", ".")
		c.encrypted = strings.HasPrefix(text, "ENC[")
		return nil, fmt.Errorf("the value at %s", c.place)
	}
	return plain, nil
}

func (c *namingCipher) failure(err error) *failure {
	switch {
	case strings.Contains(err.Error(), "Expected encrypted value as string"):
		return failf(kindText, "a value that has to be encrypted is not even text: it was added after the encryption; encrypt the file anew with sops")
	case c.place == "":
		return failf(kindText, "the encrypted values are not as sops writes them")
	case c.encrypted:
		return failf(kindText, "the value at %s cannot be decrypted: it was changed, moved or renamed after the encryption", c.place)
	}
	return failf(kindText, "the value at %s is not encrypted, though the metadata say that it is: encrypt the file anew with sops", c.place)
}
