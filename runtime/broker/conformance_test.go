package broker

import (
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// clause is one row of a table of normative statements.
type clause struct {
	id       string // MQTT-3.1.2-4
	binds    string // server, client, both, or none where it cannot be tested at this broker
	requires string // in our words
	test     string // the methods that test it, "" with a reason
	why      string // there is no test
}

// The statements of MQTT 5.0 (appendix B of the OASIS standard of 7 March 2019), each tested
// or with the reason why a server cannot be tested for it.
func TestConformance(t *testing.T) {
	runClauses(t, "MQTT 5.0", "testdata/mqtt5-clauses.tsv", 251, mqtt5{})
}

// The statements in which MQTT 3.1.1 differs from 5.0, and what 3.1 differs in from both.
func TestConformance311(t *testing.T) {
	runClauses(t, "MQTT 3.1.1 and 3.1", "testdata/mqtt311-clauses.tsv", 58, mqtt311{})
}

// runClauses runs every clause of the table as a subtest. Each exported method of tests is a
// test; all must be named by a clause. The table has want clauses.
func runClauses(t *testing.T, standard, file string, want int, tests any) {
	rows := readClauses(t, file)
	if len(rows) != want {
		t.Errorf("%s has %d clauses, want %d", file, len(rows), want)
	}
	methods := reflect.ValueOf(tests)
	unused := map[string]bool{}
	for i := range methods.NumMethod() {
		unused[methods.Type().Method(i).Name] = true
	}
	var uncovered []clause
	tested, clients := 0, 0
	for _, c := range rows {
		if c.test == "" {
			uncovered = append(uncovered, c)
			if c.binds == "client" {
				clients++
			}
			continue
		}
		tested++
		for _, name := range strings.Fields(c.test) {
			delete(unused, name)
		}
		t.Run(c.id, func(t *testing.T) {
			for _, name := range strings.Fields(c.test) {
				method := methods.MethodByName(name)
				if !method.IsValid() {
					t.Fatalf("there is no test %s", name)
				}
				t.Run(name, method.Interface().(func(*testing.T)))
			}
		})
	}
	for name := range unused {
		t.Errorf("test %s is in no row of %s", name, file)
	}
	t.Logf("%s: %d clauses, %d tested, %d bind clients only, %d not testable", standard, len(rows), tested, clients, len(uncovered)-clients)
	for _, c := range uncovered {
		t.Logf("not covered: %s (%s): %s", c.id, c.binds, c.why)
	}
}

func readClauses(t *testing.T, file string) []clause {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if lines[0] != "clause\tbinds\trequires\ttest\twhy there is none" {
		t.Fatalf("%s begins with %q", file, lines[0])
	}
	var rows []clause
	for _, line := range lines[1:] {
		f := strings.Split(line, "\t")
		if len(f) != 5 {
			t.Fatalf("%s: %d columns in %q", file, len(f), line)
		}
		rows = append(rows, clause{f[0], f[1], f[2], f[3], f[4]})
	}
	checkClauses(t, rows)
	return rows
}

// checkClauses holds the table to its form: in order, no number left out, a test or a reason.
func checkClauses(t *testing.T, rows []clause) {
	t.Helper()
	section, last := "", 0
	for _, c := range rows {
		at := strings.LastIndexByte(c.id, '-')
		n, err := strconv.Atoi(c.id[at+1:])
		if err != nil {
			t.Fatalf("%q is no clause", c.id)
		}
		if c.id[:at] != section {
			section, last = c.id[:at], n-1
		}
		switch {
		case n <= last:
			t.Errorf("%s follows %s-%d", c.id, section, last)
		case !slices.Contains([]string{"server", "client", "both", "none"}, c.binds):
			t.Errorf("%s binds %q", c.id, c.binds)
		case c.requires == "" || (c.test == "") == (c.why == ""):
			t.Errorf("%s needs a paraphrase, and either a test or a reason", c.id)
		case c.test == "" && c.binds != "client" && c.binds != "none":
			t.Errorf("%s binds the %s and has no test", c.id, c.binds)
		}
		last = n
	}
}
