package pipe

import (
	"os"
	"runtime/metrics"
	"syscall"
	"time"
)

// Guard ends the process if it cannot get by with its memory. Without it, a
// request would first spend minutes in the collector. It stops when the channel
// it returns is closed.
func Guard(memory int64) chan struct{} {
	done := make(chan struct{})
	go func() {
		ticks := time.NewTicker(100 * time.Millisecond)
		defer ticks.Stop()
		for above := 0; above < 3; {
			select {
			case <-done:
				return
			case <-ticks.C:
			}
			if InUse() > memory {
				above++
			} else {
				above = 0
			}
		}
		_, _ = syscall.Write(2, []byte("out of memory\n"))
		os.Exit(3)
	}()
	return done
}

// InUse is the memory that the process has from the system, in bytes.
func InUse() int64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}
