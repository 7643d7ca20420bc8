package journal

import "encoding/binary"

// SumHeader makes a header that was changed whole again.
func SumHeader(b []byte) { binary.LittleEndian.PutUint32(b[headerSum:], headerChecksum(b)) }
