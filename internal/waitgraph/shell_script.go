package waitgraph

import (
	"errors"
	"io"
	"path"
	"reflect"
	"runtime"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

const (
	// maxParserFrames is how deep the stack may be where a script is parsed: the parser recurses, some eight frames for each
	// command within a command.
	maxParserFrames = 500
	// maxSyntaxDepth is how deep a parsed script may be. Each command of a list adds a level, too.
	maxSyntaxDepth = 1000
	// maxVariableLength is how long a variable may be that is expanded in a script. Only names matter there.
	maxVariableLength = 1 << 10
	// maxWordParts is how many parts a word may have. A name has few.
	maxWordParts = 16
	// unparsableScript replaces the script of a container that mentions koncli and can't be parsed.
	unparsableScript = "koncli ("
)

// shellScript returns the script of a command like sh -c SCRIPT.
func shellScript(argv []string) (string, bool) {
	switch path.Base(argv[0]) {
	case "sh", "bash", "ash", "dash", "busybox":
	default:
		return "", false
	}
	for i := 1; i < len(argv)-1; i++ {
		if flag := argv[i]; strings.HasPrefix(flag, "-") && !strings.HasPrefix(flag, "--") && strings.HasSuffix(flag, "c") {
			return argv[i+1], true
		}
	}
	return "", false
}

// readScript returns the calls in a shell script. It returns false for one that is too long or too deep, or can't be parsed.
func (r *callReader) readScript(script string, env map[string]string) (calls []Call, ok bool) {
	if !mentionsKoncli(script) {
		return nil, true
	}
	if r.scriptBytesLeft -= len(script); r.scriptBytesLeft < 0 {
		return nil, false
	}
	// A panic of the parser must not end the operator, which reads the scripts of all users.
	defer func() {
		if recover() != nil {
			calls, ok = nil, false
		}
	}()
	file, err := syntax.NewParser().Parse(&depthLimitedReader{script}, "")
	if err != nil {
		return nil, false
	}
	vars := &expand.Config{NoUnset: true, Env: expand.FuncEnviron(func(name string) string {
		if value := env[name]; len(value) <= maxVariableLength {
			return value
		}
		return ""
	})}
	commands, hasRunOrHold, level := 0, false, 0
	ok = true
	syntax.Walk(file, func(node syntax.Node) bool {
		if node == nil {
			level--
			return true
		}
		if ok = ok && level < maxSyntaxDepth && len(calls) <= maxCallsPerPod; !ok {
			return false
		}
		level++
		command, isCommand := node.(*syntax.CallExpr)
		if !isCommand || len(command.Args) == 0 {
			return true
		}
		commands++
		argv := commandWords(vars, command.Args)
		hasRunOrHold = hasRunOrHold || isRunOrHold(argv)
		calls = append(calls, parseCalls(argv)...)
		return true
	})
	if commands == 1 && len(calls) == 1 && !hasRunOrHold {
		calls[0].OnlyCommand = true
	}
	return calls, ok
}

// commandWords returns the words of a command if it could be a call, else nil. A word whose value only the running script knows
// is empty.
func commandWords(vars *expand.Config, args []*syntax.Word) (argv []string) {
	for _, word := range args {
		if len(argv) == 2 && koncliArgs(argv) == nil {
			return nil
		}
		text := ""
		if isLiteral(word.Parts) {
			text, _ = expand.Literal(vars, word)
		}
		if text == "exec" && len(argv) == 0 {
			continue
		}
		argv = append(argv, text)
	}
	return argv
}

// isLiteral reports whether a word has few parts, and these are only text and plain variables: nothing in it is computed.
func isLiteral(parts []syntax.WordPart) bool {
	if len(parts) > maxWordParts {
		return false
	}
	for _, part := range parts {
		switch p := part.(type) {
		case *syntax.Lit:
		case *syntax.SglQuoted:
			if p.Dollar {
				return false
			}
		case *syntax.DblQuoted:
			if !isLiteral(p.Parts) {
				return false
			}
		case *syntax.ParamExp:
			if !reflect.DeepEqual(*p, syntax.ParamExp{Dollar: p.Dollar, Rbrace: p.Rbrace, Short: p.Short, Param: p.Param}) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// depthLimitedReader passes a script to the parser in small pieces, and ends it when the parser's recursion is too deep. So the
// depth is bounded whichever part of the grammar causes the recursion.
type depthLimitedReader struct{ remaining string }

var errTooDeep = errors.New("nested too deep")

// Read implements io.Reader.
func (s *depthLimitedReader) Read(p []byte) (int, error) {
	const piece = 64
	var frames [maxParserFrames]uintptr
	if runtime.Callers(0, frames[:]) == len(frames) {
		return 0, errTooDeep
	}
	if s.remaining == "" {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), piece)], s.remaining)
	s.remaining = s.remaining[n:]
	return n, nil
}
