package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/LogicIQ/konductor/plugins/konductor/frame"
	"github.com/LogicIQ/konductor/plugins/konductor/live"
	"github.com/LogicIQ/konductor/plugins/konductor/terminal"
	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

// changeLine is a change as a line of JSON.
type changeLine struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Type       string    `json:"type"`
	At         time.Time `json:"at"`
	Object     *view.Row `json:"object"`
}

// watchLines prints a line for each object there is, and then for each change, until ctx ends.
func (a *app) watchLines(ctx context.Context, format string, l *drawing) error {
	ctx, leave := terminal.ReaderGone(ctx, a.streams.Out)
	defer leave()
	o, err := a.following(l, append(view.Kinds(), claimKind)...)
	if err != nil {
		return err
	}
	config, err := a.restConfig()
	if err != nil {
		return err
	}
	feed, err := live.Start(config, o)
	if err != nil {
		return err
	}
	defer feed.Close()
	news, err := a.settled(ctx, feed)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	world, theme := view.NewWorld(), frame.Plain(l.onlyASCII())
	down := false
	for {
		for _, change := range world.Apply(news) {
			if err := a.printChange(&theme, format, change, time.Now().Add(world.Skew()), o.Namespace == ""); err != nil {
				return err
			}
		}
		if link := world.Link(); link.Down != down {
			down = link.Down
			a.sayLink(link)
		}
		select {
		case <-ctx.Done():
			// It goes on until it is interrupted, or nobody reads any more: neither is a failure.
			return nil
		case <-feed.Changed():
			news = feed.Take()
		}
	}
}

func (a *app) sayLink(link view.Link) {
	if link.Down {
		a.say("reconnecting to the API server: " + link.Why)
		return
	}
	a.say("connected to the API server again")
}

func (a *app) printChange(t *frame.Theme, format string, c view.Change, now time.Time, namespaces bool) error {
	if format == "json" {
		return json.NewEncoder(a.streams.Out).Encode(changeLine{view.APIVersion, "Change", c.Type, now.UTC(), c.Row})
	}
	name, state := c.Row.String(), string(c.Row.State)
	if namespaces {
		name = c.Row.Namespace + "/" + name
	}
	if c.Type == view.Deleted {
		state = "Deleted"
	}
	line := fmt.Sprintf("%s %s %s", now.UTC().Format(time.RFC3339), name, state)
	if gist := c.Row.Gist(); gist != "" && c.Type != view.Deleted {
		line += " " + gist
	}
	return a.printLines([]string{t.Clean(line)})
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
