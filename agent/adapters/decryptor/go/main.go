// The decryptor decrypts what SOPS has encrypted. The agent starts one for a
// build that meets something encrypted, gives it the keys over the pipe, and
// ends it with the build: no key outlives the work it was given for. It writes
// nothing to a disk, starts no program, and uses the network only for the key
// services that the encrypted texts themselves name.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/getsops/sops/v3/logging"
	"github.com/sirupsen/logrus"
	"weir.dev/pipe"
)

// request is what the agent asks for: the keys first (unlock), then any number
// of texts (decrypt), whose formats are SOPS' names for them.
type request struct {
	Type string `json:"type"`

	// Entries are the entries of the Secret with the keys, by name.
	Entries map[string][]byte `json:"entries"`
	// Account is the ServiceAccount whose identity is used in clouds where no
	// entry says otherwise, as namespace/name; "" for the agent's own.
	Account string `json:"account"`

	Input  string `json:"input"`
	Output string `json:"output"`
}

// response closes a request: the body is the plain text, or there is a failure.
type response struct {
	Type    string `json:"type"`
	Sizes   []int  `json:"sizes,omitempty"`
	Kind    string `json:"kind,omitempty"`
	Message string `json:"message,omitempty"`
}

func main() {
	memory := flag.Int64("memory", 256<<20, "most bytes of memory")
	flag.Parse()
	if err := prepareAndServe(*memory); err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func prepareAndServe(memory int64) error {
	debug.SetMemoryLimit(memory)
	// SOPS would log what it meets, which includes plain text.
	logging.SetLevel(logrus.PanicLevel)
	if err := pipe.ReadOnly(memory); err != nil {
		return err
	}
	return serve(pipe.Standard(), memory)
}

func serve(w *pipe.Wire, memory int64) error {
	keys := &keyring{}
	for {
		var req request
		body, err := w.Receive(&req)
		if err != nil {
			return err
		}
		done := pipe.Guard(memory)
		var plain []byte
		switch req.Type {
		case "unlock":
			keys, err = unlocked(context.Background(), req.Entries, newIdentity(w, req.Account))
		case "decrypt":
			plain, err = decrypt(keys, body, req.Input, req.Output)
		default:
			err = failf(kindInternal, "unknown request %q", req.Type)
		}
		close(done)
		if err := respond(w, plain, err); err != nil {
			return err
		}
	}
}

func respond(w *pipe.Wire, plain []byte, err error) error {
	if err != nil {
		f := asFailure(err)
		return w.Send(response{Type: "error", Kind: f.kind, Message: f.message})
	}
	return w.Send(response{Type: "result", Sizes: []int{len(plain)}}, plain)
}
