package printer

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/LogicIQ/konductor/internal/cli/render"
	"github.com/LogicIQ/konductor/internal/view"
)

// watchEventOutput is a change as a line of JSON.
type watchEventOutput struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Type       string    `json:"type"`
	At         time.Time `json:"at"`
	Object     *view.Row `json:"object"`
}

// Feed is the source of the changes that WatchEvents prints.
type Feed interface {
	Changed() <-chan struct{}
	Drain() view.Delta
}

// WatchEvents prints a line for each change of the objects in a feed.
type WatchEvents struct {
	Out            io.Writer
	Messages       *Messages
	Theme          render.Theme
	Format         string // json, or empty for text
	ShowNamespaces bool
}

// Print prints a line for each object in the first state, and then for each change, until ctx ends.
func (e *WatchEvents) Print(ctx context.Context, feed Feed, first view.Delta) error {
	news, world := first, view.NewStore()
	down := false
	for {
		for _, change := range world.Apply(news) {
			if err := e.printEvent(change, time.Now().Add(world.ClockSkew())); err != nil {
				return err
			}
		}
		if link := world.Connection(); link.Down != down {
			down = link.Down
			e.notifyConnectionState(link)
		}
		select {
		case <-ctx.Done():
			// An interrupt or a closed output ends it: neither is a failure.
			return nil
		case <-feed.Changed():
			news = feed.Drain()
		}
	}
}

func (e *WatchEvents) notifyConnectionState(link view.Connection) {
	if link.Down {
		e.Messages.Notify("reconnecting to the API server: " + link.LastError)
		return
	}
	e.Messages.Notify("reconnected to the API server")
}

func (e *WatchEvents) printEvent(c view.Change, now time.Time) error {
	if e.Format == "json" {
		return json.NewEncoder(e.Out).Encode(watchEventOutput{view.APIVersion, "Change", c.Type, now.UTC(), c.Row})
	}
	name, state := c.Row.String(), string(c.Row.State)
	if e.ShowNamespaces {
		name = c.Row.Namespace + "/" + name
	}
	if c.Type == view.Deleted {
		state = "Deleted"
	}
	line := fmt.Sprintf("%s %s %s", now.UTC().Format(time.RFC3339), name, state)
	if gist := c.Row.StateSummary(); gist != "" && c.Type != view.Deleted {
		line += " " + gist
	}
	return WriteLines(e.Out, []string{e.Theme.Sanitize(line)})
}
