package opcua

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gopcua/opcua/ua"

	"github.com/millwright/millwright/runtime/mapper"
)

func TestParsePath(t *testing.T) {
	for _, tc := range []struct{ path, want string }{
		{"/Objects/2:Press/2:Temperature", "0:Objects 2:Press 2:Temperature"},
		{"/0:Root/0:Objects/2:Press", "0:Objects 2:Press"},
		{"Objects/3:a&/b", "0:Objects 3:a/b"},
		{"/Objects/1:a:b/x:y&&", "0:Objects 1:a:b 0:x:y&"},
		{"/Objects/2&:x", "0:Objects 0:2:x"},
		{"/Objects//x", ""},
		{"/", ""},
		{"/Root", ""},
		{"/Objects/2:", ""},
	} {
		elements, err := parsePath(tc.path)
		var got []string
		for _, e := range elements {
			got = append(got, fmt.Sprintf("%d:%s", e.TargetName.NamespaceIndex, e.TargetName.Name))
		}
		if strings.Join(got, " ") != tc.want || (err != nil) != (tc.want == "") {
			t.Errorf("%q = %q, %v, want %q", tc.path, got, err, tc.want)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	f.Add("/Objects/2:Press")
	f.Add("&/&&/:")
	f.Fuzz(func(t *testing.T, path string) {
		elements, err := parsePath(path)
		if err == nil && len(elements) == 0 {
			t.Errorf("%q leads nowhere and is accepted", path)
		}
	})
}

func TestPoint(t *testing.T) {
	for _, tc := range []struct {
		op      mapper.Operation
		address string
		want    string // of the error, "" if it is fine
	}{
		{mapper.OpSubscribe, `{"nodeId":"ns=2;s=Press.Temperature"}`, ""},
		{mapper.OpRead, `{"nodeId":"i=2258"}`, ""},
		{mapper.OpRead, `{"browsePathPrefix":"/Objects","browsePath":"/2:Press"}`, ""},
		{mapper.OpWrite, `{"nodeId":"ns=2;s=Reset","nodeType":"Method"}`, ""},
		{mapper.OpRead, `{"nodeId":"ns=2;s=Reset","nodeType":"Method"}`, "only a write calls it"},
		{mapper.OpSubscribe, `{}`, "nodeId or browsePath"},
		{mapper.OpSubscribe, `{"nodeId":"ns=x;s=1"}`, "cannot parse nodeId"},
		{mapper.OpSubscribe, `{"nodeId":"i=1","attributeId":28}`, "attributeId"},
		{mapper.OpSubscribe, `{"nodeId":"i=1","queueSize":-1}`, "below zero"},
		{mapper.OpSubscribe, `{"nodeId":5}`, "cannot read the address"},
	} {
		_, err := parsePoint(tc.op, json.RawMessage(tc.address))
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s %s: %v, want %q", tc.op, tc.address, err, tc.want)
		}
	}
}

func TestConnection(t *testing.T) {
	for _, tc := range []struct{ properties, want string }{
		{`{"host":"plc"}`, ""},
		{`{"host":"plc","securityMode":"Sign","securityPolicy":"Basic256Sha256"}`, ""},
		{`{}`, "must be given"},
		{`{"host":"plc","port":70000}`, "must be given"},
		{`{"host":"plc","securityMode":"Sign"}`, "set both, or neither"},
		{`{"host":"plc","securityPolicy":"Basic256Sha256"}`, "set both, or neither"},
		{`{"host":"plc","securityPolicy":"Basic256"}`, "securityPolicy"},
		{`{"host":"plc","caCert":"nonsense!"}`, "caCert"},
		{`{"host":"plc","clientCert":"x"}`, "clientPrivateKey"},
		{`{"host":"plc","clientCert":"x","clientPrivateKey":"y"}`, "clientCert"},
		{`[]`, "no object"},
	} {
		_, err := newConnector(mapper.Config{Properties: json.RawMessage(tc.properties)})
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", tc.properties, err, tc.want)
		}
	}
}

func TestClientCertificateGiven(t *testing.T) {
	cert, key, err := NewClientCertificate("10.0.0.5")
	if err != nil {
		t.Fatal(err)
	}
	identity, err := givenIdentity(string(cert), string(key))
	if err != nil {
		t.Fatal(err)
	}
	if got := identity.applicationURI(); got != "urn:millwright:10.0.0.5" || len(identity.leaf.IPAddresses) != 1 {
		t.Errorf("application URI %q, addresses %v", got, identity.leaf.IPAddresses)
	}
	_, other, err := NewClientCertificate("other")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := givenIdentity(string(cert), string(other)); err == nil {
		t.Error("a certificate with another's key is accepted")
	}
}

func TestToVariant(t *testing.T) {
	at := time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)
	single, list := valueType{}, valueType{array: true}
	for _, tc := range []struct {
		json  string
		kind  ua.TypeID
		shape valueType
		want  any
		err   string
	}{
		{`true`, ua.TypeIDBoolean, single, true, ""},
		{`1`, ua.TypeIDBoolean, single, nil, "Boolean is expected"},
		{`-128`, ua.TypeIDSByte, single, int8(-128), ""},
		{`128`, ua.TypeIDSByte, single, nil, "does not fit into SByte"},
		{`-1`, ua.TypeIDUint32, single, nil, "does not fit into UInt32"},
		{`65535`, ua.TypeIDUint16, single, uint16(65535), ""},
		{`5.0`, ua.TypeIDInt16, single, int16(5), ""},
		{`5e2`, ua.TypeIDInt16, single, int16(500), ""},
		{`5.5`, ua.TypeIDInt16, single, nil, "a whole number"},
		{`-0`, ua.TypeIDUint16, single, uint16(0), ""},
		{`9223372036854775807`, ua.TypeIDInt64, single, int64(math.MaxInt64), ""},
		{`9223372036854775807.0`, ua.TypeIDInt64, single, int64(math.MaxInt64), ""},
		{`9.223372036854775807e18`, ua.TypeIDInt64, single, nil, "exactly"},
		{`18446744073709551615`, ua.TypeIDUint64, single, uint64(math.MaxUint64), ""},
		{`0.1`, ua.TypeIDFloat, single, float32(0.1), ""},
		{`1e39`, ua.TypeIDFloat, single, nil, "does not fit into Float"},
		{`"1.5"`, ua.TypeIDDouble, single, nil, "Double is expected"},
		{`"x"`, ua.TypeIDString, single, "x", ""},
		{`"2026-11-22T20:00:00Z"`, ua.TypeIDDateTime, single, at, ""},
		{`"yesterday"`, ua.TypeIDDateTime, single, nil, "a time as in"},
		{`"AQI="`, ua.TypeIDByteString, single, []byte{1, 2}, ""},
		{`"72962b91"`, ua.TypeIDGUID, single, nil, "a GUID"},
		{`[1,2]`, ua.TypeIDByte, list, ua.ByteArray{1, 2}, ""},
		{`[]`, ua.TypeIDInt32, list, []int32{}, ""},
		{`[[1,2],[3,4]]`, ua.TypeIDInt32, list, [][]int32{{1, 2}, {3, 4}}, ""},
		{`[[1,2],[3]]`, ua.TypeIDInt32, list, nil, "not as long"},
		{`[[1],2]`, ua.TypeIDInt32, list, nil, "a list is expected"},
		{`[1,"x"]`, ua.TypeIDInt32, list, nil, "element 1"},
		{`[1]`, ua.TypeIDInt32, single, nil, "cannot write a list"},
		{`1`, ua.TypeIDInt32, list, nil, "a list of Int32 is expected"},
		{`5`, ua.TypeIDVariant, single, int64(5), ""},
		{`5.5`, ua.TypeIDVariant, valueType{any: true}, 5.5, ""},
		{`{"a":1}`, ua.TypeIDExtensionObject, single, nil, "ExtensionObject is expected"},
		{`null`, ua.TypeIDDouble, single, nil, "Double is expected"},
	} {
		shape := tc.shape
		shape.kind = tc.kind
		v, err := toVariant(payload(t, tc.json).Value, shape)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s as %s: %v, want %q", tc.json, typeName(tc.kind), err, tc.err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(v.Value(), tc.want) {
			t.Errorf("%s as %s = %#v, %v, want %#v", tc.json, typeName(tc.kind), v, err, tc.want)
		}
	}
}

func TestStatusName(t *testing.T) {
	for status, want := range map[ua.StatusCode]string{
		ua.StatusBadNodeIDUnknown:         "BadNodeIdUnknown",
		ua.StatusBadTCPEndpointURLInvalid: "BadTcpEndpointUrlInvalid",
		ua.StatusBadNodeIDUnknown | 0x480: "BadNodeIdUnknown",
		0x8fff0000:                        "0x8FFF0000",
	} {
		if got := statusName(status); got != want {
			t.Errorf("%X = %q, want %q", uint32(status), got, want)
		}
	}
}
