package opcua

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"testing"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uapolicy"

	"github.com/millwright/millwright/runtime/mapper"
)

// testForeignRenewal lets the channel's keys expire several times while the session works.
func testForeignRenewal(t *testing.T, f *foreign) {
	c := connect(t, f.addr, f.secure(nil)).(*connector)
	c.token = 1300 * time.Millisecond
	s := dial(t, c).(*session)
	defer s.Close()
	token := func() uint32 {
		s.channel.mu.Lock()
		defer s.channel.mu.Unlock()
		return s.channel.current.token
	}
	seen := map[uint32]bool{}
	point := []mapper.Point{pointOf(t, c, mapper.OpRead, `{"nodeId":"ns=1;s=Line.Counter"}`)}
	clock := time.NewTicker(10 * time.Millisecond)
	defer clock.Stop()
	limit := time.After(20 * time.Second)
	for len(seen) < 3 {
		select {
		case <-clock.C:
		case <-limit:
			t.Fatalf("the keys changed %d times", len(seen))
		}
		seen[token()] = true
		if r := s.Read(t.Context(), point)[0]; r.Err != nil {
			t.Fatalf("reading after %d changes of keys: %v", len(seen)-1, r.Err)
		}
	}
}

// asymmetricPair are the keys of both ends of a channel.
func asymmetricPair(t testing.TB, policy string, bits int) (client, server keys) {
	t.Helper()
	mine, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	make := func(local *rsa.PrivateKey, remote *rsa.PublicKey) keys {
		algo, err := uapolicy.Asymmetric(policyPrefix+policy, local, remote)
		if err != nil {
			t.Fatal(err)
		}
		return keys{algo: algo, sign: true, encrypt: true, asym: true}
	}
	return make(mine, &theirs.PublicKey), make(theirs, &mine.PublicKey)
}

func symmetricPair(t testing.TB, policy string, encrypt bool) (client, server keys) {
	t.Helper()
	one, two := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	make := func(local, remote []byte) keys {
		algo, err := uapolicy.Symmetric(policyPrefix+policy, local, remote)
		if err != nil {
			t.Fatal(err)
		}
		return keys{algo: algo, sign: true, encrypt: encrypt}
	}
	return make(one, two), make(two, one)
}

// TestSeal seals bodies of many lengths and opens them at the other end; a changed byte is seen.
func TestSeal(t *testing.T) {
	t.Parallel()
	type pair struct{ from, to keys }
	pairs := map[string]pair{"none": {}}
	for _, policy := range []string{"Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"} {
		client, server := asymmetricPair(t, policy, 3072)
		pairs[policy+" open, long key"] = pair{client, server}
		pairs[policy+" open, to a long key"] = pair{server, client}
		for _, encrypt := range []bool{false, true} {
			client, server := symmetricPair(t, policy, encrypt)
			pairs[policy+" message"] = pair{client, server}
		}
	}
	for name, p := range pairs {
		t.Run(name, func(t *testing.T) {
			step := 1
			if p.from.asym {
				step = 9 // these are slow
			}
			for length := 0; length < 70; length += step {
				body := bytes.Repeat([]byte{byte(length)}, length)
				chunk := append(head("MSGF", 7), 1, 2, 3, 4)
				sealed, err := p.from.seal(append(chunk, body...), channelSize+tokenSize)
				if err != nil {
					t.Fatal(err)
				}
				kind, read, err := readChunk(bytes.NewReader(sealed))
				if err != nil || kind != "MSGF" {
					t.Fatalf("a body of %d bytes: %q, %v", length, kind, err)
				}
				opened, err := p.to.open(bytes.Clone(read), channelSize+tokenSize)
				if err != nil || !bytes.Equal(opened, body) {
					t.Fatalf("a body of %d bytes opens as %d bytes, %v", length, len(opened), err)
				}
				if read[len(read)-1] ^= 1; p.to.sign {
					if _, err := p.to.open(read, channelSize+tokenSize); err == nil {
						t.Fatal("a changed chunk opens")
					}
				}
			}
		})
	}
}

// TestBodySize fills a chunk to its last byte.
func TestBodySize(t *testing.T) {
	for _, encrypt := range []bool{false, true} {
		k, _ := symmetricPair(t, "Basic256Sha256", encrypt)
		for _, size := range []int{8192, 8193, 65535} {
			body := make([]byte, sequenceSize+k.bodySize(size))
			sealed, err := k.seal(append(append(head("MSGF", 7), 1, 2, 3, 4), body...), channelSize+tokenSize)
			if err != nil {
				t.Fatal(err)
			}
			if len(sealed) > size || len(sealed) < size-16 {
				t.Errorf("encrypt %v: the largest body for %d bytes makes a chunk of %d", encrypt, size, len(sealed))
			}
		}
	}
}

// FuzzReceive feeds a channel whatever a server might send. It may fail; it may not panic, and
// what it gives out are answers.
func FuzzReceive(f *testing.F) {
	f.Add([]byte("MSGF\x20\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x7a\x02\x00\x00\x00\x00"))
	f.Add([]byte("ERRF\x10\x00\x00\x00\x00\x00\x13\x80\xff\xff\xff\xff"))
	f.Add(openAnswer(append(make([]byte, 71), 1, 0, 0, 0, 1, 0, 0, 0)))
	f.Fuzz(func(_ *testing.T, stream []byte) {
		c := &channel{
			security: unsecured(), known: map[uint32]keys{1: {token: 1}}, id: 1, renewAt: make(chan time.Duration, 1),
			waiting: map[uint32]func(answer){1: func(answer) {}}, opening: &opening{},
		}
		parts := map[uint32]*bytes.Buffer{}
		reader := bytes.NewReader(stream)
		for {
			kind, chunk, err := readChunk(reader)
			if err != nil {
				return
			}
			if c.take(kind, chunk, parts) != nil {
				return
			}
		}
	})
}

// FuzzDecode turns any variant into a mapper's value.
func FuzzDecode(f *testing.F) {
	for _, v := range []any{1.5, "text", []int32{1, 2}, [][]bool{{true}, {false}}, ua.NewLocalizedText("x"), time.Now()} {
		encoded, err := ua.MustVariant(v).Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		c := &cursor{b: encoded}
		v := c.variant()
		if c.err != nil {
			return
		}
		if value, err := fromAny(v.value); err == nil {
			wantPlain(t, value)
		}
	})
}

func wantPlain(t *testing.T, value any) {
	switch v := value.(type) {
	case nil, bool, int64, uint64, float64, string:
	case []any:
		for _, element := range v {
			wantPlain(t, element)
		}
	case map[string]any:
		for _, member := range v {
			wantPlain(t, member)
		}
	default:
		t.Fatalf("a %T is no plain value", value)
	}
}
