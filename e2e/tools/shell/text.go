package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// lines calls each with every line of r, without its end, until more is false.
func lines(r io.Reader, each func(line string) (more bool, err error)) error {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		more, err := each(scanner.Text())
		if err != nil || !more {
			return err
		}
	}
	return scanner.Err()
}

// countFlag parses "-n 5", "-n5" and "-5".
func countFlag(args []string, fallback int) (n int, rest []string, err error) {
	n = fallback
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && args[0] != "-f" {
		text := strings.TrimPrefix(args[0][1:], "n")
		args = args[1:]
		if text == "" && len(args) > 0 {
			text, args = args[0], args[1:]
		}
		if n, err = strconv.Atoi(strings.TrimPrefix(text, "-")); err != nil {
			return 0, nil, fmt.Errorf("%q is not a number of lines", text)
		}
	}
	return n, args, nil
}

func head(c *call) error {
	n, files, err := countFlag(c.args, 10)
	if err != nil {
		return err
	}
	return c.inputs(files, func(_ string, r io.Reader) error {
		left := n
		if left == 0 {
			return nil
		}
		return lines(r, func(line string) (bool, error) {
			left--
			_, err := fmt.Fprintln(c.out, line)
			return left > 0, err
		})
	})
}

func tail(c *call) error {
	n, files, err := countFlag(c.args, 10)
	if err != nil {
		return err
	}
	follow := false
	if i := slices.Index(files, "-f"); i >= 0 {
		follow, files = true, slices.Delete(slices.Clone(files), i, i+1)
	}
	return c.inputs(files, func(_ string, r io.Reader) error {
		var last []string
		err := lines(r, func(line string) (bool, error) {
			last = append(last, line)
			if len(last) > n {
				last = last[1:]
			}
			return true, nil
		})
		for _, line := range last {
			fmt.Fprintln(c.out, line)
		}
		if err != nil || !follow {
			return err
		}
		return c.follow(r)
	})
}

// follow copies what is added to r until the utility is ended.
func (c *call) follow(r io.Reader) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := io.Copy(c.out, r); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
	}
}

func wc(c *call) error {
	set, files, err := options(c.args, "lwc")
	if err != nil {
		return err
	}
	if len(set) == 0 {
		set = map[byte]bool{'l': true, 'w': true, 'c': true}
	}
	return c.inputs(files, func(name string, r io.Reader) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		var columns []string
		for _, count := range []struct {
			flag byte
			n    int
		}{{'l', bytes.Count(data, []byte("\n"))}, {'w', len(bytes.Fields(data))}, {'c', len(data)}} {
			if set[count.flag] {
				columns = append(columns, strconv.Itoa(count.n))
			}
		}
		if name != "-" {
			columns = append(columns, name)
		}
		_, err = fmt.Fprintln(c.out, strings.Join(columns, " "))
		return err
	})
}

func grep(c *call) error {
	set, rest, err := options(c.args, "EFviqcnohe")
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return fmt.Errorf("a pattern is missing")
	}
	pattern := rest[0]
	if set['F'] {
		pattern = regexp.QuoteMeta(pattern)
	} else if !set['E'] {
		pattern = extended(pattern)
	}
	if set['i'] {
		pattern = "(?i)" + pattern
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	found := false
	err = c.inputs(rest[1:], func(name string, r io.Reader) error {
		number, count := 0, 0
		err := lines(r, func(line string) (bool, error) {
			number++
			if re.MatchString(line) == set['v'] {
				return true, nil
			}
			found = true
			count++
			if set['q'] {
				return false, nil
			}
			if set['c'] {
				return true, nil
			}
			text := []string{line}
			if set['o'] {
				text = re.FindAllString(line, -1)
			}
			for _, t := range text {
				if set['n'] {
					t = fmt.Sprintf("%d:%s", number, t)
				}
				if len(rest) > 2 && !set['h'] {
					t = name + ":" + t
				}
				if _, err := fmt.Fprintln(c.out, t); err != nil {
					return false, err
				}
			}
			return true, nil
		})
		if err == nil && set['c'] {
			_, err = fmt.Fprintln(c.out, count)
		}
		return err
	})
	if err != nil {
		fmt.Fprintf(c.err, "grep: %v\n", err)
		return exit(2)
	}
	if !found {
		return exit(1)
	}
	return nil
}

// extended converts a basic regular expression, where \( groups and ( is literal, to an extended one.
func extended(pattern string) string {
	const special = "(){}|+?"
	var out strings.Builder
	for i := 0; i < len(pattern); i++ {
		ch := pattern[i]
		switch {
		case ch == '\\' && i+1 < len(pattern):
			i++
			if !strings.Contains(special, pattern[i:i+1]) {
				out.WriteByte('\\')
			}
			out.WriteByte(pattern[i])
		case strings.IndexByte(special, ch) >= 0:
			out.WriteByte('\\')
			out.WriteByte(ch)
		default:
			out.WriteByte(ch)
		}
	}
	return out.String()
}

func sortLines(c *call) error {
	set, files, err := options(c.args, "rnu")
	if err != nil {
		return err
	}
	var all []string
	err = c.inputs(files, func(_ string, r io.Reader) error {
		return lines(r, func(line string) (bool, error) {
			all = append(all, line)
			return true, nil
		})
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(a, b string) int {
		order := strings.Compare(a, b)
		if set['n'] {
			x, _ := strconv.ParseFloat(strings.TrimSpace(a), 64)
			y, _ := strconv.ParseFloat(strings.TrimSpace(b), 64)
			if x != y {
				order = 1
				if x < y {
					order = -1
				}
			}
		}
		if set['r'] {
			return -order
		}
		return order
	})
	if set['u'] {
		all = slices.Compact(all)
	}
	for _, line := range all {
		if _, err := fmt.Fprintln(c.out, line); err != nil {
			return err
		}
	}
	return nil
}

func uniq(c *call) error {
	set, files, err := options(c.args, "cd")
	if err != nil {
		return err
	}
	return c.inputs(files, func(_ string, r io.Reader) error {
		count, current := 0, ""
		flush := func() {
			switch {
			case count == 0, set['d'] && count < 2:
			case set['c']:
				fmt.Fprintf(c.out, "%7d %s\n", count, current)
			default:
				fmt.Fprintln(c.out, current)
			}
		}
		err := lines(r, func(line string) (bool, error) {
			if count > 0 && line == current {
				count++
				return true, nil
			}
			flush()
			count, current = 1, line
			return true, nil
		})
		flush()
		return err
	})
}

// cut supports -d and -f with a list of single fields.
func cut(c *call) error {
	delimiter, list := "\t", ""
	args := c.args
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		flag, value := args[0][1], args[0][2:]
		args = args[1:]
		if value == "" && len(args) > 0 {
			value, args = args[0], args[1:]
		}
		switch flag {
		case 'd':
			delimiter = value
		case 'f':
			list = value
		default:
			return fmt.Errorf("unknown option -%c", flag)
		}
	}
	var fields []int
	for part := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 {
			return fmt.Errorf("%q is not a field", part)
		}
		fields = append(fields, n)
	}
	return c.inputs(args, func(_ string, r io.Reader) error {
		return lines(r, func(line string) (bool, error) {
			parts := strings.Split(line, delimiter)
			var picked []string
			for _, n := range fields {
				if n <= len(parts) {
					picked = append(picked, parts[n-1])
				}
			}
			_, err := fmt.Fprintln(c.out, strings.Join(picked, delimiter))
			return true, err
		})
	})
}

// translate supports "tr SET1 SET2" and "tr -d SET", with ranges such as a-z.
func translate(c *call) error {
	set, args, err := options(c.args, "d")
	if err != nil || len(args) == 0 || !set['d'] && len(args) != 2 {
		return fmt.Errorf("usage: tr SET1 SET2 | tr -d SET")
	}
	from := characters(args[0])
	var to []rune
	if !set['d'] {
		if to = characters(args[1]); len(to) == 0 {
			return fmt.Errorf("the second set is empty")
		}
	}
	data, err := io.ReadAll(c.in)
	if err != nil {
		return err
	}
	mapped := strings.Map(func(r rune) rune {
		i := slices.Index(from, r)
		switch {
		case i < 0:
			return r
		case set['d']:
			return -1
		default:
			return to[min(i, len(to)-1)]
		}
	}, string(data))
	_, err = io.WriteString(c.out, mapped)
	return err
}

func characters(set string) []rune {
	set = strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\\`, `\`).Replace(set)
	in := []rune(set)
	var out []rune
	for i := 0; i < len(in); i++ {
		if i+2 < len(in) && in[i+1] == '-' && in[i] <= in[i+2] {
			for r := in[i]; r <= in[i+2]; r++ {
				out = append(out, r)
			}
			i += 2
			continue
		}
		out = append(out, in[i])
	}
	return out
}

func tee(c *call) error {
	set, files, err := options(c.args, "a")
	if err != nil {
		return err
	}
	mode := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	if set['a'] {
		mode = os.O_CREATE | os.O_WRONLY | os.O_APPEND
	}
	outputs := []io.Writer{c.out}
	for _, name := range files {
		f, err := os.OpenFile(c.path(name), mode, 0o644)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		outputs = append(outputs, f)
	}
	_, err = io.Copy(io.MultiWriter(outputs...), c.in)
	return err
}
