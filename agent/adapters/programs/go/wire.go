// Package pipe is what the agent's Go programs have in common: frames over
// standard input and output, bounded memory, and no more of the system than
// their work needs.
package pipe

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// A frame is an 8-byte prefix (header length, body length, both big-endian
// uint32), a JSON header and a raw body. Both directions use the same form.
const (
	maxHeader = 8 << 20
	maxBody   = 1 << 30
)

// Wire is the program's end of the conversation with the agent. It is used by
// one goroutine.
type Wire struct {
	in  *bufio.Reader
	out *bufio.Writer
}

// Standard is the conversation over standard input and output.
func Standard() *Wire {
	return &Wire{in: bufio.NewReaderSize(os.Stdin, 64<<10), out: bufio.NewWriterSize(os.Stdout, 64<<10)}
}

// Receive reads the next frame's header into header and returns its body. The
// error is io.EOF where the agent has ended the conversation.
func (w *Wire) Receive(header any) ([]byte, error) {
	var prefix [8]byte
	if _, err := io.ReadFull(w.in, prefix[:]); err != nil {
		return nil, err
	}
	headerLen, bodyLen := binary.BigEndian.Uint32(prefix[:4]), binary.BigEndian.Uint32(prefix[4:])
	if headerLen > maxHeader || bodyLen > maxBody {
		return nil, fmt.Errorf("frame of %d + %d bytes is too large", headerLen, bodyLen)
	}
	buf := make([]byte, int(headerLen)+int(bodyLen))
	if _, err := io.ReadFull(w.in, buf); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(buf[:headerLen], header); err != nil {
		return nil, fmt.Errorf("frame header: %w", err)
	}
	return buf[headerLen:], nil
}

// Send writes one frame; the bodies follow one another in its body.
func (w *Wire) Send(header any, bodies ...[]byte) error {
	head, err := json.Marshal(header)
	if err != nil {
		return err
	}
	total := 0
	for _, b := range bodies {
		total += len(b)
	}
	var prefix [8]byte
	binary.BigEndian.PutUint32(prefix[:4], uint32(len(head)))
	binary.BigEndian.PutUint32(prefix[4:], uint32(total))
	for _, b := range append([][]byte{prefix[:], head}, bodies...) {
		if _, err := w.out.Write(b); err != nil {
			return err
		}
	}
	return w.out.Flush()
}
