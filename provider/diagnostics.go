package provider

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// addError is the one place that turns an error into diagnostics: what could not be done, why,
// and what to do. A wrong file gives one for each mistake, at the attribute that holds the file.
func addError(diags *diag.Diagnostics, summary string, err error) {
	var e *spec.Error
	if errors.As(err, &e) && len(e.Diagnostics) > 0 {
		for _, d := range e.Diagnostics {
			addFinding(diags, summary, d)
		}
		if diags.HasError() {
			return
		}
	}
	detail := sentence(err.Error())
	if todo := advice(err); todo != "" {
		detail += "\n\n" + sentence(todo)
	}
	diags.AddError(summary, detail)
}

// addFinding adds what the server says of a file, at the attribute that holds it.
func addFinding(diags *diag.Diagnostics, summary string, d spec.Diagnostic) {
	detail := d.Message
	if d.Line > 0 {
		detail = fmt.Sprintf("%s, line %d, column %d: %s", d.File, d.Line, d.Column, d.Message)
	}
	detail = sentence(detail)
	if d.Hint != "" {
		detail += "\n\n" + sentence(inTerraform(d.Hint))
	}
	switch {
	case d.Severity == spec.SeverityError && d.Line > 0:
		diags.AddAttributeError(path.Root("commissioning"), summary, detail)
	case d.Severity == spec.SeverityError:
		diags.AddError(summary, detail)
	case d.Line > 0:
		diags.AddAttributeWarning(path.Root("commissioning"), "About the file of "+subject(summary), detail)
	default:
		diags.AddWarning("About "+subject(summary), detail)
	}
}

// subject is the object that a summary such as `Cannot install service "press"` ends in.
func subject(summary string) string {
	words := strings.Fields(summary)
	return strings.Join(words[max(0, len(words)-2):], " ")
}

// addDeviations warns of what is not as it should be: health, which is no difference.
func addDeviations(diags *diag.Diagnostics, object string, deviations []spec.Deviation) {
	if len(deviations) == 0 {
		return
	}
	lines := make([]string, 0, len(deviations))
	for _, d := range deviations {
		line := d.Address + " is " + d.State
		if d.Error != "" {
			line += ": " + d.Error
		}
		lines = append(lines, line)
	}
	diags.AddWarning(sentenceCase(object)+" is deviated", strings.Join(lines, "\n")+
		"\n\nIt is installed as declared. What it needs is not as it should be: a machine is off, or refuses.")
}

// addDisturbance warns of what a plan changes below an object, and of what falls silent meanwhile.
func addDisturbance(diags *diag.Diagnostics, object string, p plan.Plan) {
	most := p.MaxDisturbance()
	summary := fmt.Sprintf("%s disturbs the %s", sentenceCase(object), most)
	if most == plan.DisturbsNone {
		if len(p.Steps) < 2 {
			return
		}
		summary = sentenceCase(object) + " changes without disturbing anything"
	}
	p.Diagnostics, p.Deviations = nil, nil
	diags.AddWarning(summary, strings.TrimSpace(p.String()))
}

// advice says what to do about an error, in the terms of this provider.
func advice(err error) string {
	var (
		e         *spec.Error
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		lookup    *net.DNSError
	)
	switch {
	case errors.As(err, &authority):
		return "give the certificate authority of the instance as ca_cert or ca_path of the provider block, or as ca_cert of the entry in contexts; " +
			"\"millwright get authority\" prints it"
	case errors.As(err, &name):
		return "use the name that the certificate is for in the address"
	case errors.As(err, &lookup):
		return fmt.Sprintf("check the name %q in url, or in the context", lookup.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "start the instance, or check url or context of the provider block; with on_unreachable = \"keep\" a plan goes on without it"
	case errors.Is(err, context.DeadlineExceeded):
		return "look whether the instance is overloaded, or a firewall swallows the connection; timeouts of the resource give it longer"
	case errors.Is(err, context.Canceled):
		return ""
	case spec.KindOf(err) == spec.Unauthorised:
		return "check token, or username and password, of the provider block and MILLWRIGHT_TOKEN, MILLWRIGHT_USERNAME, MILLWRIGHT_PASSWORD; " +
			"\"millwright login\" renews the token of the context file"
	case errors.As(err, &e) && e.Hint != "":
		return inTerraform(e.Hint)
	case spec.KindOf(err) == spec.Internal:
		return "look into the log of the instance (\"millwright logs\"); applying again goes on where this ended"
	case spec.KindOf(err) == spec.Unavailable:
		return "apply again: what is done stays done"
	}
	return ""
}

var flagWithValue = regexp.MustCompile(`--max-disturbance (\w+)`)

// inTerraform rewrites a hint that speaks of the command line's flags.
func inTerraform(hint string) string {
	hint = flagWithValue.ReplaceAllString(hint, `max_disturbance = "$1"`)
	return strings.NewReplacer(
		`--adopt ("adopt": true)`, "adopt = true", "--adopt", "adopt = true",
		`--allow-unsupported ("allow_unsupported": true)`, "allow_unsupported = true", "--allow-unsupported", "allow_unsupported = true",
		"--url or --context", "url or context of the provider block", "--ca-path", "ca_path of the provider block",
		"--context", "context", "--url", "url", "--token", "token of the provider block",
		"use a program of the same major version as the instance", "use a version of this provider with the same major version as the instance (required_providers)",
	).Replace(hint)
}

// sentence turns an error's text, lower case and without a full stop, into a sentence.
func sentence(text string) string {
	text = sentenceCase(text)
	if text != "" && !strings.ContainsRune(".!?\"'`)", rune(text[len(text)-1])) {
		text += "."
	}
	return text
}

func sentenceCase(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	if size == 0 || strings.ContainsAny(strings.SplitN(text, " ", 2)[0], ".:/") {
		return text
	}
	return string(unicode.ToUpper(first)) + text[size:]
}
