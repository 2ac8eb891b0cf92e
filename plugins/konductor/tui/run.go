package tui

import (
	"context"
	"errors"
	"io"

	tea "github.com/charmbracelet/bubbletea"

	_ "github.com/LogicIQ/konductor/plugins/konductor/quiet" // before Bubble Tea
)

// framesPerSecond is how often the terminal is written to at most.
const framesPerSecond = 30

// Run shows the dashboard on a terminal until people leave it or ctx ends. It leaves the terminal as it found it.
func Run(ctx context.Context, o Options, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := New(ctx, o)
	defer m.Close()
	// Signals end ctx: that is the business of main.
	p := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out),
		tea.WithAltScreen(), tea.WithFPS(framesPerSecond), tea.WithoutSignalHandler())
	_, err := p.Run()
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
