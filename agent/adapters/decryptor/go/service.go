package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/keyservice"
)

// keyServiceSeconds bounds one call to a key service.
const keyServiceSeconds = 30

// service decrypts data keys for one text, and notes why it could not.
type service struct {
	keys *keyring
	// faults are the reasons by key, in the order they were tried.
	faults []string
}

func (k *keyring) service() *service { return &service{keys: k} }

// Encrypt is part of the interface; nothing here encrypts.
func (s *service) Encrypt(context.Context, *keyservice.EncryptRequest) (*keyservice.EncryptResponse, error) {
	return nil, errors.New("the decryptor does not encrypt")
}

// Decrypt finds the plain data key, in memory where another text had the same.
func (s *service) Decrypt(ctx context.Context, req *keyservice.DecryptRequest) (*keyservice.DecryptResponse, error) {
	known := string(req.Ciphertext)
	if plain, ok := s.keys.data[known]; ok {
		return &keyservice.DecryptResponse{Plaintext: plain}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, keyServiceSeconds*time.Second)
	defer cancel()
	plain, err := s.dataKey(ctx, req)
	if err != nil {
		return nil, err
	}
	s.keys.data[known] = plain
	return &keyservice.DecryptResponse{Plaintext: plain}, nil
}

func (s *service) dataKey(ctx context.Context, req *keyservice.DecryptRequest) ([]byte, error) {
	name, plain, err := "", []byte(nil), error(nil)
	switch k := req.Key.GetKeyType().(type) {
	case *keyservice.Key_AgeKey:
		name = shown(k.AgeKey.Recipient)
		plain, err = s.keys.decryptAge(req.Ciphertext)
	case *keyservice.Key_PgpKey:
		name = "PGP " + k.PgpKey.Fingerprint
		plain, err = s.keys.decryptPGP(req.Ciphertext)
		if err != nil && !s.keys.holdsPGP(k.PgpKey.Fingerprint) {
			err = errNoKey
		}
	default:
		name, plain, err = s.keys.cloud.decrypt(ctx, req)
	}
	if err != nil {
		s.note(name, err)
	}
	return plain, err
}

// errNoKey says nothing that the list of keys does not say.
var errNoKey = errors.New("no such key")

func (s *service) note(name string, err error) {
	var none *age.NoIdentityMatchError
	if errors.Is(err, errNoKey) || errors.As(err, &none) {
		s.faults = append(s.faults, name)
		return
	}
	s.faults = append(s.faults, fmt.Sprintf("%s (%s)", name, strings.Join(strings.Fields(err.Error()), " ")))
}

func (k *keyring) decryptAge(text []byte) ([]byte, error) {
	if len(k.age) == 0 {
		return nil, errNoKey
	}
	var in io.Reader = bytes.NewReader(text)
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte(armor.Header)) {
		in = armor.NewReader(bytes.NewReader(bytes.TrimSpace(text)))
	}
	plain, err := age.Decrypt(in, k.age...)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(plain)
}

// failure says which keys would have done, and which there are.
func (s *service) failure(metadata *sops.Metadata) *failure {
	if len(s.faults) == 0 {
		return failf(kindText, "the metadata name no key that it was encrypted for")
	}
	wanted := "none of the keys fits: it was encrypted for " + strings.Join(s.faults, ", ")
	if metadata.ShamirThreshold > 1 {
		wanted = fmt.Sprintf("too few of the keys fit, %d key groups are needed: no key for %s", metadata.ShamirThreshold, strings.Join(s.faults, ", "))
	}
	have := "there are no keys"
	if len(s.keys.loaded) > 0 {
		have = "the keys are " + strings.Join(s.keys.loaded, ", ")
	}
	message := wanted + "; " + have
	if len(s.keys.ignored) > 0 {
		message += fmt.Sprintf("; not used: %s, since a key's name has to end in %s (age) or %s (PGP), or be %s, %s, %s or %s",
			strings.Join(s.keys.ignored, ", "), endingAge, endingPGP, entryVault, entryAWS, entryAzure, entryGCP)
	}
	return &failure{kind: kindKey, message: message}
}
