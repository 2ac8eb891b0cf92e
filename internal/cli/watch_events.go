package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/LogicIQ/konductor/internal/cli/render"
	"github.com/LogicIQ/konductor/internal/cli/terminal"
	"github.com/LogicIQ/konductor/internal/live"
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

// printWatchEvents prints a line for each existing object, and then for each change, until ctx ends.
func (a *app) printWatchEvents(ctx context.Context, format string, l *displayFlags) error {
	ctx, leave := terminal.BrokenPipeContext(ctx, a.streams.Out)
	defer leave()
	o, err := a.watchOptions(l, append(view.PrimitiveKinds(), claimKind)...)
	if err != nil {
		return err
	}
	config, err := a.connection.RESTConfig()
	if err != nil {
		return err
	}
	feed, err := live.Start(config, o)
	if err != nil {
		return err
	}
	defer feed.Close()
	news, err := a.waitForFirstState(ctx, feed)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	world, theme := view.NewStore(), render.NewPlainTheme(l.isASCIIOnly())
	down := false
	for {
		for _, change := range world.Apply(news) {
			if err := a.printWatchEvent(&theme, format, change, time.Now().Add(world.ClockSkew()), o.Namespace == ""); err != nil {
				return err
			}
		}
		if link := world.Connection(); link.Down != down {
			down = link.Down
			a.notifyConnectionState(link)
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

func (a *app) notifyConnectionState(link view.Connection) {
	if link.Down {
		a.notify("reconnecting to the API server: " + link.LastError)
		return
	}
	a.notify("reconnected to the API server")
}

func (a *app) printWatchEvent(t *render.Theme, format string, c view.Change, now time.Time, namespaces bool) error {
	if format == "json" {
		return json.NewEncoder(a.streams.Out).Encode(watchEventOutput{view.APIVersion, "Change", c.Type, now.UTC(), c.Row})
	}
	name, state := c.Row.String(), string(c.Row.State)
	if namespaces {
		name = c.Row.Namespace + "/" + name
	}
	if c.Type == view.Deleted {
		state = "Deleted"
	}
	line := fmt.Sprintf("%s %s %s", now.UTC().Format(time.RFC3339), name, state)
	if gist := c.Row.StateSummary(); gist != "" && c.Type != view.Deleted {
		line += " " + gist
	}
	return a.printLines([]string{t.Sanitize(line)})
}

func (a *app) printLines(lines []string) error {
	_, err := fmt.Fprintln(a.streams.Out, strings.Join(lines, "\n"))
	return err
}

func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.streams.Out)
	e.SetIndent("", "    ")
	return e.Encode(v)
}
