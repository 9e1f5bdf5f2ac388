//go:build !race

package podero

import "testing"

// The race detector makes a pool forget some of what it keeps.
func TestADocumentTakesTwoAllocations(t *testing.T) {
	document, drift := sandboxDocument(t), quietDrift()
	got := testing.AllocsPerRun(1000, func() {
		if _, err := readUser(document, drift); err != nil {
			t.Fatal(err)
		}
	})
	if got > 2 { // the texts, and the record
		t.Errorf("%v allocations", got)
	}
}
