// Writes NAME.out for every NAME.tmpl of this folder, with Go's text/template and sprig.
//
// The test `template` compares the bundler with these files. To make them again, with Debian's
// golang-go and golang-github-masterminds-sprig-dev:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go run oracle.go
package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
)

// The variables that debos would get with -t.
var variables = map[string]string{
	"architecture": "arm64",
	"empty":        "",
	"name":         "World",
	"number":       "3",
	"list":         "b,a,c,a",
	"text":         "it's a \"word\"",
}

func main() {
	names, _ := filepath.Glob("*.tmpl")
	for _, name := range names {
		out, err := render(read(name))
		if err != nil {
			panic(name + ": " + err.Error())
		}
		target := strings.TrimSuffix(name, ".tmpl") + ".out"
		if err := os.WriteFile(target, []byte(out), 0o644); err != nil {
			panic(err)
		}
	}
	// Each line of this file is a template that must be refused.
	for _, line := range strings.Split(strings.TrimSpace(read("wrong.txt")), "\n") {
		if out, err := render(line); err == nil {
			panic(line + " gives " + out)
		}
	}
}

func read(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func render(text string) (string, error) {
	functions := template.FuncMap{
		"sector": func(s int) string { return strconv.Itoa(s) + "s" },
	}
	t, err := template.New("t").Funcs(sprig.TxtFuncMap()).Funcs(functions).Parse(text)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = t.Execute(&out, variables)
	return out.String(), err
}
