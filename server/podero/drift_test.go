package podero

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestDriftNamesTheFirst32AndNoPerson(t *testing.T) {
	var log bytes.Buffer
	counts := map[string]int{}
	drift := NewDrift(slog.New(slog.NewTextHandler(&log, nil)), func(kind, name string) { counts[kind+" "+name]++ })
	for range 2 {
		for i := range 40 {
			drift.note(driftField, fmt.Sprintf("key_%02d", i))
		}
		drift.note(driftRole, "owner")
		drift.note(driftRole, "Peter Schmidt")
		drift.note(driftRole, strings.Repeat("x", 65))
		drift.note(driftRole, "")
	}
	for name, want := range map[string]int{
		"field key_00": 2, "field key_31": 2, "field key_32": 0, "field other": 16,
		"role owner": 2, "role other": 6, "role Peter Schmidt": 0,
	} {
		if counts[name] != want {
			t.Errorf("%s counted %d times, want %d", name, counts[name], want)
		}
	}
	if lines := strings.Count(log.String(), "\n"); lines != 32+1+2 {
		t.Errorf("%d lines, want one for each name:\n%s", lines, log.String())
	}
	if strings.Contains(log.String(), "Peter") {
		t.Error("a value that is no name is in the log")
	}
}
