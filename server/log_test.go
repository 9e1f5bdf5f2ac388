package server_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// logLine is a line that the source can write: its message, and the names of its fields.
type logLine struct {
	message string
	fields  []string
}

func TestTheLogsLinesAreThoseOfTheDocumentation(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## Log\n")
	documented := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|[^|]*\\| (.*) ?\\|$").FindAllStringSubmatch(table, -1) {
		for _, field := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(row[2], -1) {
			documented[row[1]] = append(documented[row[1]], field[1])
		}
		documented[row[1]] = slices.Sorted(slices.Values(documented[row[1]]))
	}
	written := map[string]map[string]bool{}
	for _, line := range linesOfSource(t) {
		if written[line.message] == nil {
			written[line.message] = map[string]bool{}
		}
		for _, field := range line.fields {
			written[line.message][field] = true
		}
	}
	for message, fields := range written {
		if want, ok := documented[message]; !ok || !slices.Equal(slices.Sorted(maps.Keys(fields)), want) {
			t.Errorf("line %q has fields %v; docs/operations.md says %v", message, slices.Sorted(maps.Keys(fields)), want)
		}
	}
	for message := range documented {
		if written[message] == nil {
			t.Errorf("line %q is in docs/operations.md alone", message)
		}
	}
}

// linesOfSource finds every call of a logger's in the packages of the service.
func linesOfSource(t *testing.T) (lines []logLine) {
	t.Helper()
	var renewed []string // what loops of package renew log for
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(node ast.Node) bool {
			call, ok := node.(*ast.CallExpr)
			if !ok {
				return true
			}
			function, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if name(function.X) == "renew" && function.Sel.Name == "New" {
				renewed = append(renewed, constant(call.Args[0]))
			}
			if name(function.X) == "log" && regexp.MustCompile(`^(Debug|Info|Warn|Error)(Context)?$|^LogAttrs$`).MatchString(function.Sel.Name) {
				lines = append(lines, lineOf(call.Args))
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []logLine
	for _, line := range lines {
		suffix, ofLoop := strings.CutPrefix(line.message, "l.what+")
		if !ofLoop {
			all = append(all, line)
			continue
		}
		for _, what := range renewed {
			all = append(all, logLine{what + suffix, line.fields})
		}
	}
	return all
}

// lineOf reads the arguments of a logger's method: perhaps a context and a level, then the message, then the fields.
func lineOf(args []ast.Expr) (line logLine) {
	for len(args) > 0 && constant(args[0]) == "" {
		args = args[1:]
	}
	if len(args) == 0 {
		return line
	}
	line.message = constant(args[0])
	for i, arg := range args[1:] {
		if attribute, ok := arg.(*ast.CallExpr); ok && isOfSlog(attribute) {
			line.fields = append(line.fields, constant(attribute.Args[0]))
		} else if i%2 == 0 {
			line.fields = append(line.fields, constant(arg))
		}
	}
	return line
}

func isOfSlog(call *ast.CallExpr) bool {
	function, ok := call.Fun.(*ast.SelectorExpr)
	return ok && name(function.X) == "slog"
}

// name returns the last name of an expression such as s.log.
func name(expression ast.Expr) string {
	switch e := expression.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	default:
		return ""
	}
}

// constant returns the text of a literal, or of what is prefixed to one.
func constant(expression ast.Expr) string {
	switch e := expression.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		if err != nil {
			return ""
		}
		return text
	case *ast.BinaryExpr:
		if selector, ok := e.X.(*ast.SelectorExpr); ok {
			return fmt.Sprintf("%s.%s+%s", name(selector.X), selector.Sel.Name, constant(e.Y))
		}
	}
	return ""
}
