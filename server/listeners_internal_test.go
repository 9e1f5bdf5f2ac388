package server

import (
	"testing"

	"google.golang.org/grpc/mem"
)

func TestAFrameTakesTwiceItsSizeAtMost(t *testing.T) {
	pool, err := mem.NewBinaryTieredBufferPool(bufferSizes...)
	if err != nil {
		t.Fatal(err)
	}
	const pooled, largest = 1 << 10, 16 << 10 // what grpc-go takes from a pool, and the largest frame
	for size := pooled + 1; size <= largest; size++ {
		buffer := pool.Get(size)
		if got := cap(*buffer); got > 2*size {
			t.Fatalf("a frame of %d bytes takes %d", size, got)
		}
		pool.Put(buffer)
	}
}
