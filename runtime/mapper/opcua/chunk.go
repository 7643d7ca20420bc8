package opcua

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uapolicy"
)

// The sizes of a chunk's parts (Part 6, 6.7.2).
const (
	headSize     = 8  // message type, chunk type, size
	channelSize  = 12 // the head and the secure channel's id
	tokenSize    = 4
	sequenceSize = 8
	bufferSize   = 65535    // the longest chunk either side sends
	smallestSize = 1024     // no server's buffer is smaller; the standard asks for 8192
	messageSize  = 16 << 20 // the longest message that is put together
)

// keys protect one direction of a channel or both, from one OpenSecureChannel to the next.
type keys struct {
	token   uint32
	algo    *uapolicy.EncryptionAlgorithm
	sign    bool
	encrypt bool
	asym    bool
}

// bodySize returns how much of a message fits into a chunk of that size.
func (k keys) bodySize(chunk int) int {
	room := chunk - channelSize - tokenSize
	if k.encrypt {
		room = room / k.algo.BlockSize() * k.algo.PlaintextBlockSize()
		room -= k.paddingBytes(k.algo.RemoteSignatureLength())
	}
	if k.sign {
		room -= k.algo.SignatureLength()
	}
	return room - sequenceSize
}

// paddingBytes is the size of the padding's length: two bytes for keys above 2,048 bits.
func (k keys) paddingBytes(keyLength int) int {
	if k.asym && keyLength > 256 {
		return 2
	}
	return 1
}

// seal signs and encrypts what follows the first clear bytes of a chunk, and writes its size.
func (k keys) seal(chunk []byte, clear int) ([]byte, error) {
	if !k.sign {
		binary.LittleEndian.PutUint32(chunk[4:], uint32(len(chunk)))
		return chunk, nil
	}
	size := len(chunk) + k.algo.SignatureLength()
	if k.encrypt {
		chunk = k.pad(chunk, clear)
		plain := len(chunk) - clear + k.algo.SignatureLength()
		size = clear + plain/k.algo.PlaintextBlockSize()*k.algo.BlockSize()
	}
	binary.LittleEndian.PutUint32(chunk[4:], uint32(size))
	signature, err := k.algo.Signature(chunk)
	if err != nil {
		return nil, fmt.Errorf("cannot sign a message: %w", err)
	}
	chunk = append(chunk, signature...)
	if !k.encrypt {
		return chunk, nil
	}
	secret, err := k.algo.Encrypt(chunk[clear:])
	if err != nil {
		return nil, fmt.Errorf("cannot encrypt a message: %w", err)
	}
	return append(chunk[:clear:clear], secret...), nil
}

// pad fills up to a whole number of blocks, the signature that will follow included.
func (k keys) pad(chunk []byte, clear int) []byte {
	lengthBytes := k.paddingBytes(k.algo.RemoteSignatureLength())
	block := k.algo.PlaintextBlockSize()
	over := (len(chunk) - clear + lengthBytes + k.algo.SignatureLength()) % block
	padding := (block - over) % block
	for range padding + 1 {
		chunk = append(chunk, byte(padding))
	}
	if lengthBytes == 2 {
		chunk = append(chunk, byte(padding>>8))
	}
	return chunk
}

var errSecurity = errors.New("the server's message is not what was agreed: its signature, padding or length is wrong")

// open decrypts and verifies what follows the first clear bytes, and returns it without
// padding and signature.
func (k keys) open(chunk []byte, clear int) ([]byte, error) {
	if !k.sign {
		return chunk[clear:], nil
	}
	if k.encrypt {
		plain, err := k.algo.Decrypt(chunk[clear:])
		if err != nil {
			return nil, errSecurity
		}
		chunk = append(chunk[:clear:clear], plain...)
	}
	end := len(chunk) - k.algo.RemoteSignatureLength()
	if end < clear || k.algo.VerifySignature(chunk[:end], chunk[end:]) != nil {
		return nil, errSecurity
	}
	if !k.encrypt {
		return chunk[clear:end], nil
	}
	return k.unpad(chunk[clear:end])
}

func (k keys) unpad(plain []byte) ([]byte, error) {
	lengthBytes := k.paddingBytes(k.algo.SignatureLength())
	if len(plain) < lengthBytes {
		return nil, errSecurity
	}
	padding := int(plain[len(plain)-lengthBytes])
	if lengthBytes == 2 {
		padding |= int(plain[len(plain)-1]) << 8
	}
	end := len(plain) - lengthBytes - padding
	if end < 0 {
		return nil, errSecurity
	}
	return plain[:end], nil
}

// sequence is what precedes a chunk's body, inside its protection.
type sequence struct {
	number  uint32
	request uint32
}

func (s sequence) appendTo(chunk []byte) []byte {
	chunk = binary.LittleEndian.AppendUint32(chunk, s.number)
	return binary.LittleEndian.AppendUint32(chunk, s.request)
}

func splitSequence(plain []byte) (sequence, []byte, error) {
	if len(plain) < sequenceSize {
		return sequence{}, nil, errSecurity
	}
	return sequence{
		number:  binary.LittleEndian.Uint32(plain),
		request: binary.LittleEndian.Uint32(plain[4:]),
	}, plain[sequenceSize:], nil
}

// head starts a chunk; its size is written by seal.
func head(kind string, channel uint32) []byte {
	chunk := make([]byte, 0, 256)
	chunk = append(chunk, kind...)
	chunk = append(chunk, 0, 0, 0, 0)
	return binary.LittleEndian.AppendUint32(chunk, channel)
}

// encodeService is a request as the server decodes it: the id of its type, then its fields.
func encodeService(request ua.Request) (body []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("cannot encode a request: %v", p)
		}
	}()
	typeID := ua.ServiceTypeID(request)
	if typeID == 0 {
		return nil, fmt.Errorf("cannot encode a %T: it is no request", request)
	}
	prefix, err := ua.Encode(ua.NewFourByteExpandedNodeID(0, typeID))
	if err != nil {
		return nil, err
	}
	fields, err := ua.Encode(request)
	return append(prefix, fields...), err
}

var errDecode = errors.New("cannot decode the server's answer")
