package provider_test

import (
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
)

// The functions ask no instance.
func TestForeignTerraformFunctions(t *testing.T) {
	output := func(name string, check knownvalue.Check) statecheck.StateCheck {
		return statecheck.ExpectKnownOutputValue(name, check)
	}
	press := testFile(t, "press.yml")
	expression := func(e string) resource.TestStep {
		return resource.TestStep{Config: "output \"x\" {\n  value = " + e + "\n}\n"}
	}
	failing := func(e, why string) resource.TestStep {
		s := expression(e)
		s.ExpectError = regexp.MustCompile(why)
		return s
	}
	run(
		t,
		failing(`provider::millwright::commissioning("x")`, `is\s+an\s+object`),
		failing(`provider::millwright::commissioning({ a = { "$ref" = 1 } })`, `takes\s+a\s+string`),
		failing(`provider::millwright::parse_commissioning("a: [")`, `cannot\s+read\s+the\s+YAML`),
		failing(`provider::millwright::topic_matches("a/#/b", "x")`, `last\s+level`),
		failing(`provider::millwright::topic_matches("a", "a/+")`, `a/\+`),
		resource.TestStep{
			Config: "locals {\n  press = <<-EOT\n" + escaped(press) + "EOT\n}\n" + `
output "matches" { value = [for f in ["plant/+/temp", "plant/#", "line/#"] : provider::millwright::topic_matches(f, "plant/press/temp")] }
output "text" { value = provider::millwright::commissioning({ resources = { a = { type = "X", properties = { host = { "$ref" = "host" }, n = 9007199254740993, f = 0.5 } } }, description = "d" }) }
output "type" { value = provider::millwright::parse_commissioning(local.press).resources.temp.type }
output "sub" { value = provider::millwright::parse_commissioning(local.press).resources.temp.properties.subscribe.topic["$sub"] }
output "again" { value = provider::millwright::parse_commissioning(provider::millwright::commissioning(provider::millwright::parse_commissioning(local.press))) == provider::millwright::parse_commissioning(local.press) }
output "good" { value = provider::millwright::validate_commissioning(local.press) }
output "wrong" { value = [for f in provider::millwright::validate_commissioning(replace(local.press, "!ref bus", "!ref buss")) : "${f.severity} ${f.code} ${f.line}" ] }
`,
			ConfigStateChecks: []statecheck.StateCheck{
				output("matches", knownvalue.ListExact([]knownvalue.Check{knownvalue.Bool(true), knownvalue.Bool(true), knownvalue.Bool(false)})),
				output("text", knownvalue.StringExact("description: d\nresources:\n  a:\n    properties:\n      f: 0.5\n      host: !ref host\n      n: 9007199254740993\n    type: X\n")),
				output("type", knownvalue.StringExact("Cybus::Endpoint")),
				output("sub", knownvalue.StringExact("raw/${line}/temp")),
				output("again", knownvalue.Bool(true)),
				output("good", knownvalue.ListExact([]knownvalue.Check{})),
				output("wrong", knownvalue.ListExact([]knownvalue.Check{knownvalue.StringExact("error unknown-reference 23")})),
			},
		},
	)
}
