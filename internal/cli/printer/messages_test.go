package printer

import (
	"io"
	"testing"
)

func TestMessagesDoNotBlock(t *testing.T) {
	read, write := io.Pipe()
	messages := NewMessages(write)
	stop := messages.StartQueue()
	for range 2 * maxQueuedLines {
		// If each write waited until it is read, this would never end.
		go messages.Notify("something")
	}
	messages.Notify("something")
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	stop()
}
