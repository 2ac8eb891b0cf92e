package tui

import (
	"context"
	"errors"
	"io"

	tea "github.com/charmbracelet/bubbletea"

	_ "github.com/LogicIQ/konductor/internal/cli/libinit" // before Bubble Tea
)

// maxFramesPerSecond is how often the terminal is written to at most.
const maxFramesPerSecond = 30

// Run shows the dashboard on a terminal until the user quits or ctx ends. It restores the terminal.
func Run(ctx context.Context, o Options, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := New(ctx, o)
	defer m.Close()
	// Signals end ctx: main handles them.
	p := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out),
		tea.WithAltScreen(), tea.WithFPS(maxFramesPerSecond), tea.WithoutSignalHandler())
	_, err := p.Run()
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
