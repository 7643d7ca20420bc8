package report

import (
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/spec"
)

type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool       sarifTool       `json:"tool"`
	ColumnKind string          `json:"columnKind"`
	Artifacts  []sarifArtifact `json:"artifacts"`
	Results    []sarifResult   `json:"results"`
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name           string      `json:"name"`
	InformationURI string      `json:"informationUri"`
	Rules          []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID string `json:"id"`
}

type sarifArtifact struct {
	Location sarifURI `json:"location"`
}

type sarifURI struct {
	URI string `json:"uri"`
}

type sarifResult struct {
	RuleID    string          `json:"ruleId"`
	RuleIndex int             `json:"ruleIndex"`
	Level     string          `json:"level"`
	Message   sarifMessage    `json:"message"`
	Locations []sarifLocation `json:"locations"`
}

type sarifMessage struct {
	Text string `json:"text"`
}

type sarifLocation struct {
	PhysicalLocation sarifPhysical `json:"physicalLocation"`
}

type sarifPhysical struct {
	ArtifactLocation sarifURI     `json:"artifactLocation"`
	Region           *sarifRegion `json:"region,omitempty"`
}

type sarifRegion struct {
	StartLine   int `json:"startLine"`
	StartColumn int `json:"startColumn,omitempty"`
	EndLine     int `json:"endLine,omitempty"`
	EndColumn   int `json:"endColumn,omitempty"`
}

// SARIF writes a SARIF 2.1.0 log with one run.
func SARIF(w io.Writer, files []string, ds []spec.Diagnostic) error {
	codes := codesOf(ds)
	run := sarifRun{
		Tool:       sarifTool{Driver: sarifDriver{Name: "millwright", InformationURI: "https://github.com/millwright/millwright", Rules: []sarifRule{}}},
		ColumnKind: "unicodeCodePoints",
		Artifacts:  []sarifArtifact{},
		Results:    []sarifResult{},
	}
	for _, code := range codes {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{ID: code})
	}
	for _, file := range files {
		run.Artifacts = append(run.Artifacts, sarifArtifact{Location: sarifURI{URI: uri(file)}})
	}
	for _, d := range ds {
		run.Results = append(run.Results, sarifResult{
			RuleID: d.Code, RuleIndex: slices.Index(codes, d.Code), Level: string(d.Severity),
			Message: sarifMessage{Text: sentence(d)}, Locations: locations(d),
		})
	}
	return encode(w, sarifLog{
		Schema:  "https://json.schemastore.org/sarif-2.1.0.json",
		Version: "2.1.0",
		Runs:    []sarifRun{run},
	})
}

func locations(d spec.Diagnostic) []sarifLocation {
	if d.File == "" {
		return []sarifLocation{}
	}
	l := sarifLocation{PhysicalLocation: sarifPhysical{ArtifactLocation: sarifURI{URI: uri(d.File)}}}
	if d.Line > 0 {
		l.PhysicalLocation.Region = &sarifRegion{StartLine: d.Line, StartColumn: d.Column, EndLine: d.EndLine, EndColumn: d.EndColumn}
	}
	return []sarifLocation{l}
}

// uri turns a path into a reference: relative ones stay relative.
func uri(path string) string {
	slashed := filepath.ToSlash(path)
	u := url.URL{Path: slashed}
	if strings.HasPrefix(slashed, "/") {
		u.Scheme = "file"
	}
	return strings.TrimPrefix(u.String(), "./")
}

func codesOf(ds []spec.Diagnostic) []string {
	var codes []string
	for _, d := range ds {
		codes = append(codes, d.Code)
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

// sentence is the message with its hint.
func sentence(d spec.Diagnostic) string {
	if d.Hint == "" {
		return d.Message
	}
	return d.Message + " (" + d.Hint + ")"
}
