package server

import (
	"math"
	"testing"
)

func TestConnectionsLeaveDescriptorsForAllElse(t *testing.T) {
	for descriptors, want := range map[uint64]connectionLimit{
		64:             {8, 8},
		256:            {53, 53},
		1024:           {309, 309},
		1 << 20:        {4096, 4096},
		math.MaxUint64: {4096, 4096},
	} {
		if got := newConnectionLimit(descriptors); got != want {
			t.Errorf("%d descriptors: got %+v, want %+v", descriptors, got, want)
		}
	}
}
