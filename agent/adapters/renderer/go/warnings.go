package main

import (
	"bufio"
	"log"
	"os"
	"strings"
	"sync"
)

// warnings takes what kustomize prints while it builds (deprecated fields,
// mostly), so that it reaches the person and not the pipe.
type warnings struct {
	mu    sync.Mutex
	lines []string
	to    *os.File
	mark  chan struct{}
}

const (
	mostWarnings  = 20
	endOfWarnings = "\x00end"
)

// divert sends standard output and standard error here. The crash report of
// the Go runtime still goes to file descriptor 2.
func divert() (*warnings, error) {
	from, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	w := &warnings{to: to, mark: make(chan struct{})}
	os.Stdout, os.Stderr = to, to
	log.SetOutput(to)
	log.SetFlags(0)
	go func() {
		lines := bufio.NewReader(from)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			w.line(strings.TrimSpace(line))
		}
	}()
	return w, nil
}

func (w *warnings) line(text string) {
	if text == endOfWarnings {
		w.mark <- struct{}{}
		return
	}
	text = strings.TrimPrefix(text, "# Warning: ")
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, known := range w.lines {
		if known == text {
			return
		}
	}
	if text != "" && len(w.lines) < mostWarnings {
		w.lines = append(w.lines, withoutRoot(text))
	}
}

// take returns what was printed since the last call.
func (w *warnings) take() []string {
	if _, err := w.to.WriteString(endOfWarnings + "\n"); err != nil {
		return nil
	}
	<-w.mark
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := w.lines
	w.lines = nil
	return lines
}
