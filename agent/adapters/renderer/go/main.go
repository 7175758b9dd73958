// The renderer builds kustomizations and evaluates CEL for the agent. It lives as long as the
// agent keeps its pipes open and works off one request at a time, reading
// every file by asking the agent for it. It uses no network, no disk and no
// environment.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"

	"sigs.k8s.io/kustomize/kyaml/openapi"
	"weir.dev/pipe"
)

type limits struct {
	memory int64
	output int
}

func main() {
	var limits limits
	flag.Int64Var(&limits.memory, "memory", 512<<20, "most bytes of memory")
	flag.IntVar(&limits.output, "output", 64<<20, "most bytes of objects in one answer")
	flag.Parse()
	stderr := os.Stderr
	if err := prepareAndServe(limits); err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(stderr, err)
		os.Exit(1)
	}
}

func prepareAndServe(limits limits) error {
	debug.SetMemoryLimit(limits.memory)
	// The schema kustomize keeps in memory is most of the heap: collecting at
	// every doubling of the rest would mark it again and again.
	debug.SetGCPercent(200)
	runtime.GOMAXPROCS(min(2, runtime.NumCPU()))
	os.Clearenv()
	http.DefaultTransport = refusing{}
	w := pipe.Standard()
	said, err := divert()
	if err != nil {
		return err
	}
	if err := pipe.Isolate(limits.memory); err != nil {
		return err
	}
	openapi.Schema()
	return serve(w, said, limits)
}

func serve(w *pipe.Wire, said *warnings, limits limits) error {
	for {
		var req request
		body, err := w.Receive(&req)
		if err != nil {
			return err
		}
		done := pipe.Guard(limits.memory)
		docs, exposed, err := answerTo(w, &req, body, limits)
		close(done)
		result := response{Type: "result", Warnings: said.take(), Exposed: exposed}
		if err := respond(w, result, docs, err); err != nil {
			return err
		}
		if docs = nil; pipe.InUse() > idleMemory {
			debug.FreeOSMemory()
		}
	}
}

func answerTo(w *pipe.Wire, req *request, body []byte, limits limits) (docs [][]byte, exposed []string, err error) {
	switch req.Type {
	case "build":
		return build(w, req, limits)
	case "yaml":
		docs, err = documents(body, limits)
	case "compile", "evaluate":
		docs, err = expressions(req, body)
	default:
		err = failf(kindInternal, "unknown request %q", req.Type)
	}
	return docs, nil, err
}

// idleMemory is how much a process may keep while it waits, in bytes.
const idleMemory = 128 << 20

func respond(w *pipe.Wire, result response, docs [][]byte, err error) error {
	if err != nil {
		f := asFailure(err, kindBuild)
		return w.Send(response{Type: "error", Kind: f.kind, Message: withoutRoot(f.message)})
	}
	result.Sizes = make([]int, len(docs))
	for i, d := range docs {
		result.Sizes[i] = len(d)
	}
	return w.Send(result, docs...)
}
