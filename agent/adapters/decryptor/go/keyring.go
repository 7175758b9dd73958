package main

import (
	"context"
	"path"
	"slices"
	"sort"
	"strings"

	"filippo.io/age"
	"github.com/ProtonMail/go-crypto/openpgp"
)

// The entries of a Secret that hold keys: by their ending, or by name.
const (
	endingAge    = ".agekey"
	endingPGP    = ".asc"
	entryVault   = "sops.vault-token"
	entryAWS     = "sops.aws-kms"
	entryAzure   = "sops.azure-kv"
	entryGCP     = "sops.gcp-kms"
	longestShown = 64
)

// keyring holds the keys of one build.
type keyring struct {
	age   []age.Identity
	pgp   openpgp.EntityList
	cloud cloud
	// loaded says which keys there are, as their public parts name them.
	loaded []string
	// ignored are entries whose names say nothing.
	ignored []string
	// data are the data keys that key services have already decrypted, by
	// their cipher text: the documents of a file share one.
	data map[string][]byte
}

// unlocked reads the entries of a Secret.
func unlocked(ctx context.Context, entries map[string][]byte, own *identity) (*keyring, error) {
	k := &keyring{data: map[string][]byte{}, cloud: cloud{own: own}}
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if err := k.add(ctx, name, entries[name]); err != nil {
			return nil, failf(kindKey, "the entry '%s' is unusable: %s", name, err)
		}
	}
	return k, nil
}

func (k *keyring) add(ctx context.Context, name string, value []byte) error {
	switch {
	case path.Ext(name) == endingAge:
		return k.addAge(name, value)
	case path.Ext(name) == endingPGP:
		return k.addPGP(name, value)
	case slices.Contains([]string{entryVault, entryAWS, entryAzure, entryGCP}, name):
		k.loaded = append(k.loaded, name)
		return k.cloud.add(ctx, name, value)
	}
	k.ignored = append(k.ignored, name)
	return nil
}

func (k *keyring) addAge(name string, value []byte) error {
	identities, err := age.ParseIdentities(strings.NewReader(string(value)))
	if err != nil {
		// The error of the library may quote the line, which is a secret.
		return failf(kindKey, "it has to hold age identities, one a line (AGE-SECRET-KEY-1…); plugins and passphrases are not supported")
	}
	for _, identity := range identities {
		k.age = append(k.age, identity)
		switch i := identity.(type) {
		case *age.X25519Identity:
			k.loaded = append(k.loaded, shown(i.Recipient().String())+" ("+name+")")
		case *age.HybridIdentity:
			k.loaded = append(k.loaded, shown(i.Recipient().String())+" ("+name+")")
		}
	}
	return nil
}

// shown shortens the names of keys that are long.
func shown(name string) string {
	if len(name) <= longestShown {
		return name
	}
	return name[:20] + "…" + name[len(name)-8:]
}
