package server_test

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
)

func TestALargeRequestIsRefused(t *testing.T) {
	s := start(t, newUpstream(t, good, nil), nil)
	_, err := s.grpc.GetUserByExternalId(t.Context(), &userv1.GetUserByExternalIdRequest{ExternalId: strings.Repeat("x", 17<<10)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Error(err)
	}
}

// TestAFastConnectionMaySendNoMore sends what makes grpc-go widen windows by itself, and then waits for the answer to a ping.
func TestAFastConnectionMaySendNoMore(t *testing.T) {
	s := start(t, newUpstream(t, good, nil), nil)
	h := dialH2(t, s.GRPCAddr().String())
	id := uint32(1)
	h.send(t, id)
	for pings := 0; pings < 20; {
		frame, err := h.framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if size, ok := frame.Value(http2.SettingInitialWindowSize); ok && size > 64<<10 {
				t.Fatalf("a stream may send %d bytes", size)
			}
		case *http2.PingFrame:
			if frame.IsAck() {
				id += 2
				pings++
				h.send(t, id)
			} else if err := h.framer.WritePing(true, frame.Data); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// send begins a request with more than its message has, and a ping.
func (h *h2) send(t *testing.T, id uint32) {
	t.Helper()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", userv1.UserService_GetUserByExternalId_FullMethodName},
		{":authority", "localhost"}, {"content-type", "application/grpc"},
	} {
		_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1], Sensitive: true}) // a buffer never fails
	}
	err := h.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true})
	message := make([]byte, 16<<10)
	copy(message, []byte{0, 0, 0, 0x3f, 0xff})
	for range 3 {
		if err == nil {
			err = h.framer.WriteData(id, false, message)
		}
	}
	if err == nil {
		err = h.framer.WritePing(false, [8]byte{})
	}
	if err != nil {
		t.Fatal(err)
	}
}
