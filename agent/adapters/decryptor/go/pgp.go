package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
)

// addPGP takes the private keys of an armored key ring.
func (k *keyring) addPGP(name string, value []byte) error {
	entities, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(value))
	if err != nil {
		return failf(kindKey, "it has to hold an armored PGP private key (-----BEGIN PGP PRIVATE KEY BLOCK-----)")
	}
	for _, entity := range entities {
		fingerprint := fmt.Sprintf("%X", entity.PrimaryKey.Fingerprint)
		if entity.PrivateKey == nil {
			return failf(kindKey, "the PGP key %s in it is a public key; export the private one", fingerprint)
		}
		if entity.PrivateKey.Encrypted {
			return failf(kindKey, "the PGP key %s in it is protected by a passphrase; export it without one", fingerprint)
		}
		k.pgp = append(k.pgp, entity)
		k.loaded = append(k.loaded, "PGP "+fingerprint+" ("+name+")")
	}
	return nil
}

func (k *keyring) decryptPGP(text []byte) ([]byte, error) {
	block, err := armor.Decode(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("the encrypted data key is not armored PGP")
	}
	message, err := openpgp.ReadMessage(block.Body, k.pgp, nil, nil)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(message.UnverifiedBody)
}

// holdsPGP says whether a key with this fingerprint, of a primary key or a
// subkey, is here.
func (k *keyring) holdsPGP(fingerprint string) bool {
	for _, entity := range k.pgp {
		if ends(entity.PrimaryKey.Fingerprint, fingerprint) {
			return true
		}
		for _, sub := range entity.Subkeys {
			if ends(sub.PublicKey.Fingerprint, fingerprint) {
				return true
			}
		}
	}
	return false
}

func ends(whole []byte, fingerprint string) bool {
	wanted := strings.ToUpper(strings.ReplaceAll(fingerprint, " ", ""))
	return wanted != "" && strings.HasSuffix(fmt.Sprintf("%X", whole), strings.TrimPrefix(wanted, "0X"))
}
