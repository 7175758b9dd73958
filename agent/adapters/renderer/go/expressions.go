package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
	// The sandbox has no zone files, and expressions may name zones.
	_ "time/tzdata"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
)

// Bounds of one evaluation. The cost is cel-go's own count of steps, and the
// bound that of Kubernetes for one of its own expressions. The time alone would
// not do: a comprehension takes an interruption inside another one for an
// element that it can go on without.
const (
	mostCost      = 1_000_000
	mostTime      = 2 * time.Second
	interruptEach = 100
)

// Health expressions see the fields of an object as variables, whatever they
// are, so nothing is known about types. Ready expressions are over self and
// dep and have to be of type bool.
const (
	modeHealth = "health"
	modeReady  = "ready"
)

// dialects are the environments by mode, made when the first expression comes:
// most agents never see one.
var dialects = map[string]func() (*cel.Env, error){
	modeHealth: sync.OnceValues(func() (*cel.Env, error) { return dialect() }),
	modeReady:  sync.OnceValues(func() (*cel.Env, error) { return dialect("self", "dep") }),
}

// dialect is CEL as the Flux controllers have it.
func dialect(variables ...string) (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true),
		cel.HomogeneousAggregateLiterals(),
		cel.EagerlyValidateDeclarations(true),
		cel.OptionalTypes(),
		ext.Encoders(), ext.Sets(), ext.Strings(),
	}
	for _, name := range variables {
		options = append(options, cel.Variable(name, cel.ObjectType("google.protobuf.Struct")))
	}
	return cel.NewEnv(options...)
}

// verdict is what became of one expression: a value, or an error. An invalid
// expression is one that no object can make work.
type verdict struct {
	Value   bool   `json:"value"`
	Error   string `json:"error,omitempty"`
	Invalid bool   `json:"invalid,omitempty"`
}

// expressions answers a compile or an evaluate request with one verdict for
// each expression. The body of the latter is a JSON object: the variables.
func expressions(req *request, body []byte) ([][]byte, error) {
	environment, ok := dialects[req.Mode]
	if !ok {
		return nil, failf(kindInternal, "unknown mode %q", req.Mode)
	}
	env, err := environment()
	if err != nil {
		return nil, failf(kindInternal, "failed to create CEL environment: %s", err)
	}
	var variables map[string]any
	if req.Type == "evaluate" {
		if variables, err = decoded(body); err != nil {
			return nil, err
		}
	}
	out := [][]byte{}
	for _, text := range req.Expressions {
		data, err := json.Marshal(judge(env, req.Mode, text, variables))
		if err != nil {
			return nil, failf(kindInternal, "encoding a verdict: %s", err)
		}
		out = append(out, data)
	}
	return out, nil
}

// judge compiles the expression and, given variables, evaluates it.
func judge(env *cel.Env, mode, text string, variables map[string]any) verdict {
	program, err := compile(env, mode, text)
	if err != nil {
		return verdict{Error: err.Error(), Invalid: true}
	}
	if variables == nil {
		return verdict{}
	}
	value, err := evaluate(program, text, variables)
	if err != nil {
		return verdict{Error: err.Error()}
	}
	return verdict{Value: value}
}

func compile(env *cel.Env, mode, text string) (cel.Program, error) {
	read := env.Parse
	if mode == modeReady {
		read = env.Compile
	}
	ast, issues := read(text)
	if issues != nil {
		return nil, fmt.Errorf("failed to parse the CEL expression '%s': %s", text, issues)
	}
	if got := ast.OutputType(); mode == modeReady && got != cel.BoolType {
		return nil, fmt.Errorf("CEL expression output type mismatch: expected %s, got %s", cel.BoolType, got)
	}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(mostCost),
		cel.InterruptCheckFrequency(interruptEach))
	if err != nil {
		return nil, fmt.Errorf("failed to create CEL program: %w", err)
	}
	return program, nil
}

func evaluate(program cel.Program, text string, variables map[string]any) (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), mostTime)
	defer cancel()
	value, _, err := program.ContextEval(ctx, variables)
	if err != nil {
		return false, fmt.Errorf("failed to evaluate the CEL expression '%s': %w", text, err)
	}
	result, ok := value.(types.Bool)
	if !ok {
		return false, fmt.Errorf("failed to evaluate CEL expression as boolean: '%s'", text)
	}
	return bool(result), nil
}

// decoded reads variables as the API machinery reads objects: a number is an
// integer where it fits 64 bits, else a float.
func decoded(body []byte) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	variables := map[string]any{}
	if err := decoder.Decode(&variables); err != nil {
		return nil, failf(kindDecode, "not an object: %s", err)
	}
	if _, err := exactNumbers(variables); err != nil {
		return nil, failf(kindDecode, "not an object: %s", err)
	}
	return variables, nil
}

func exactNumbers(value any) (any, error) {
	var failed error
	put := func(child any) any {
		replaced, err := exactNumbers(child)
		failed = errors.Join(failed, err)
		return replaced
	}
	switch v := value.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n, nil
		}
		return v.Float64()
	case map[string]any:
		for key, child := range v {
			v[key] = put(child)
		}
	case []any:
		for i, child := range v {
			v[i] = put(child)
		}
	}
	return value, failed
}
