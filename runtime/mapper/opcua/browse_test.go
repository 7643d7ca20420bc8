package opcua

import (
	"fmt"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/spec"
)

func testForeignProbe(t *testing.T, f *foreign) {
	url := "opc.tcp://" + f.addr
	good := Credentials{Username: "operator", Password: "s3cret-pass", ClientCertificate: testCertificate}
	report, err := Probe(t.Context(), url, good)
	if err != nil {
		t.Fatal(err)
	}
	if !report.Login.OK || report.Server == nil || report.Server.State != "Running" || report.Limits.NodesPerRead != 10 {
		t.Errorf("login %+v, server %+v, limits %+v", report.Login, report.Server, report.Limits)
	}
	if len(report.Endpoints) != 7 || len(report.Certificates) != 1 || len(report.Certificates[0].Fingerprint) != 95 {
		t.Errorf("%d endpoints, certificates %+v", len(report.Endpoints), report.Certificates)
	}
	var text strings.Builder
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"SignAndEncrypt", "Basic256Sha256", "UserName", `log-in as "operator": works`, "BEGIN CERTIFICATE", "10 nodes read"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, &text)
		}
	}
	for _, login := range []Credentials{{Username: "operator", Password: "wrong"}, {}} {
		report, err := Probe(t.Context(), url, login)
		if err != nil || report.Login.OK || report.Login.Error == "" {
			t.Errorf("log-in %+v with %+v: %v", report.Login, login, err)
		}
	}
	if _, err := Probe(t.Context(), fmt.Sprintf("opc.tcp://127.0.0.1:%d", f.closedPort()), good); spec.KindOf(err) != spec.Unavailable {
		t.Errorf("probing nothing: %v", err)
	}
	if _, err := Probe(t.Context(), "http://127.0.0.1", good); spec.KindOf(err) != spec.Invalid {
		t.Errorf("probing http: %v", err)
	}
}

func testForeignBrowse(t *testing.T, f *foreign) {
	login := Credentials{Username: "operator", Password: "s3cret-pass", ClientCertificate: testCertificate}
	found, err := Browse(t.Context(), "opc.tcp://"+f.addr, "", BrowseOptions{Login: login})
	if err != nil {
		t.Fatal(err)
	}
	byID := map[string]Node{}
	for _, n := range found.Nodes {
		byID[n.NodeID] = n
	}
	setpoint := byID["ns=1;s=Line.Setpoint"]
	if strings.Join(setpoint.Path, "/") != "Line/Setpoint" || setpoint.DataType != "Double" || !setpoint.Readable || !setpoint.Writable {
		t.Errorf("the setpoint is %+v", setpoint)
	}
	if n := byID["ns=1;s=Line.Int64"]; n.DataType != "Int64" || n.Writable || n.Array {
		t.Errorf("Int64 is %+v", n)
	}
	if n := byID["ns=1;s=Line.Matrix"]; !n.Array {
		t.Errorf("the matrix is %+v", n)
	}
	if byID["ns=1;s=Line.Add"].Class != "Method" || byID["i=2253"].NodeID != "" {
		t.Errorf("the method is %+v, the server object %+v", byID["ns=1;s=Line.Add"], byID["i=2253"])
	}
	wantValid(t, found, map[string]any{"password": "s3cret-pass"})

	below, err := Browse(t.Context(), found.URL, "ns=1;s=Line.Many", BrowseOptions{Login: login, Most: 20})
	if err != nil || len(below.Nodes) != 20 || !below.Truncated {
		t.Errorf("a bounded walk: %d nodes, truncated %v, %v", len(below.Nodes), below.Truncated, err)
	}
	shallow, err := Browse(t.Context(), found.URL, "", BrowseOptions{Login: login, Depth: 1})
	if err != nil || !shallow.Truncated {
		t.Errorf("a shallow walk: %d nodes, truncated %v, %v", len(shallow.Nodes), shallow.Truncated, err)
	}
	if _, err := Browse(t.Context(), found.URL, "ns=1;s=Nonsense", BrowseOptions{Login: login}); err == nil || !strings.Contains(err.Error(), "BadNodeIdUnknown") {
		t.Errorf("browsing nonsense: %v", err)
	}
}

// wantValid evaluates the file that a walk gives, and counts its endpoints.
func wantValid(t *testing.T, found Browsed, parameters map[string]any) {
	t.Helper()
	text := found.CommissioningFile(found.DefaultID())
	file, diagnostics := commissioning.Parse("browsed.yml", []byte(text))
	if len(diagnostics) > 0 {
		t.Fatalf("the file does not parse: %v\n%s", diagnostics, text)
	}
	service, diagnostics := file.Evaluate(commissioning.Input{Parameters: parameters})
	if len(diagnostics) > 0 {
		t.Fatalf("the file is not valid: %v\n%s", diagnostics, text)
	}
	if service.ID != found.DefaultID() {
		t.Errorf("the service is %q, not %q", service.ID, found.DefaultID())
	}
	var variables, endpoints int
	for _, n := range found.Nodes {
		if n.Class == "Variable" && n.Readable {
			variables++
		}
	}
	for _, r := range service.Resources {
		if r.Type == "Endpoint" {
			endpoints++
		}
	}
	if variables == 0 || endpoints != variables {
		t.Errorf("%d endpoints for %d variables", endpoints, variables)
	}
}

// TestBrowseSimulator walks an open server, whose file needs no parameter.
func TestBrowseSimulator(t *testing.T) {
	p := startPlant(t, "127.0.0.1:0")
	defer p.Close()
	found, err := Browse(t.Context(), "opc.tcp://"+p.Addr(), "ns=2;s=Press", BrowseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var tree strings.Builder
	if err := found.WriteText(&tree); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		found.URL + ", below ns=2;s=Press",
		"  Temperature  ns=2;s=Press.Temperature  Double",
		"  Counter  ns=2;s=Press.Counter  Int32",
		"  Running  ns=2;s=Press.Running  Boolean",
		"  State  ns=2;s=Press.State  String",
		"  Profile  ns=2;s=Press.Profile  Double[]",
		"  Total  ns=2;s=Press.Total  Int64",
		"  Setpoint  ns=2;s=Press.Setpoint  Double, writable",
		"  Reset  ns=2;s=Press.Reset  Method",
		"",
	}, "\n")
	if tree.String() != want {
		t.Errorf("got\n%swant\n%s", &tree, want)
	}
	wantValid(t, found, nil)
	if name := found.DefaultID(); !strings.Contains(name, "_press_") {
		t.Errorf("the service is named %q, without its root", name)
	}
	whole, err := Browse(t.Context(), found.URL, "", BrowseOptions{})
	if err != nil || len(whole.Nodes) != len(found.Nodes)+1 {
		t.Errorf("the whole server has %d nodes: %v", len(whole.Nodes), err)
	}
}

// TestDefaultIDs holds that what is not the same has not the same id: applying a service of
// another's id would delete the other's endpoints.
func TestDefaultIDs(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range []struct{ url, root, name, want string }{
		{"opc.tcp://10.0.0.1:24840", "i=85", "Objects", "opcua_10.0.0.1_24840"},
		{"opc.tcp://10.0.0.12:4840", "i=85", "Objects", "opcua_10.0.0.12_4840"},
		{"opc.tcp://PLC7.plant:4840", "i=85", "Objects", "opcua_plc7.plant_4840"},
		{"opc.tcp://10.0.0.7:4840", "ns=2;s=Press", "Press", "opcua_10.0.0.7_4840_press_"},
		{"opc.tcp://10.0.0.7:4840", "ns=2;s=Oven.Press", "Press", "opcua_10.0.0.7_4840_press_"},
		{"opc.tcp://10.0.0.7:4840", "ns=2;s=press", "press", "opcua_10.0.0.7_4840_press_"},
		{"opc.tcp://10.0.0.7:4840", "ns=2;i=7", "", "opcua_10.0.0.7_4840_"},
		{"opc.tcp://10.0.0.7:4840/line", "i=85", "Objects", "opcua_10.0.0.7_4840_"},
		{"opc.tcp://plc-7:4840", "i=85", "Objects", "opcua_plc_7_4840_"},
		{"opc.tcp://plc_7:4840", "i=85", "Objects", "opcua_plc_7_4840"},
		{"opc.tcp://[fe80::7]:4840", "i=85", "Objects", "opcua_fe80__7_4840_"},
		{"opc.tcp://" + strings.Repeat("long-", 60) + ":4840", "ns=2;s=x", strings.Repeat("Größe", 30), "opcua_long_long_"},
	} {
		id := Browsed{URL: c.url, Root: c.root, RootName: c.name}.DefaultID()
		if err := spec.CheckServiceID(id); err != nil || !strings.HasPrefix(id, c.want) || strings.HasSuffix(c.want, "0") && id != c.want {
			t.Errorf("%s below %s is %q, not %q: %v", c.url, c.root, id, c.want, err)
		}
		if seen[id] {
			t.Errorf("%s below %s is %q, as another is", c.url, c.root, id)
		}
		seen[id] = true
	}
}

// TestCommissioningFileNames gives names that YAML, ids and topics would trip over.
func TestCommissioningFileNames(t *testing.T) {
	found := Browsed{URL: "opc.tcp://[::1]:4841/a b", Root: "i=85", SecurityMode: "None", SecurityPolicy: "None"}
	for i, path := range [][]string{
		{"Press", "T+emp/#1"},
		{"Press", "T_emp__1"},
		{"Größe"},
		{"_"},
		{"a.b"},
		{`"quoted": \ back`},
		{"line\nbreak", "$share"},
		{"server"},
		{""},
	} {
		found.Nodes = append(found.Nodes, Node{
			NodeID: fmt.Sprintf("ns=2;s=%q<%d>", strings.Join(path, "."), i), Path: path, Class: "Variable", DataType: "Double", Readable: true,
		})
	}
	wantValid(t, found, nil)
}
