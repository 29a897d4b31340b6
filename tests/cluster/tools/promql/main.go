// promql reads a JSON request and evaluates PromQL expressions with Prometheus' own engine, over series written as
// Prometheus' tests write them.
//
// Request: {"series": "load 1m\n  up{a=\"b\"} 1+0x60", "at": 3600, "expressions": ["up"]}. Answer, one for each
// expression: {"error": "", "metrics": ["up"], "labels": ["a"], "result": [{"labels": {"a": "b"}, "value": 1}]}.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
)

type request struct {
	Series      string   `json:"series"`
	At          int64    `json:"at"`
	Expressions []string `json:"expressions"`
}

type sample struct {
	Labels map[string]string `json:"labels"`
	Value  float64           `json:"value"`
}

type answer struct {
	Error   string   `json:"error"`
	Metrics []string `json:"metrics"`
	Result  []sample `json:"result"`
}

// outside stands for the test that promqltest wants to be part of.
type outside struct{ testing.TB }

func (outside) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (outside) FailNow()                          { os.Exit(1) }
func (outside) Helper()                           {}
func (outside) Cleanup(func())                    {}

func main() {
	var asked request
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	storage := promqltest.LoadedStorage(outside{}, asked.Series)
	defer storage.Close()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute})
	answers := make([]answer, 0, len(asked.Expressions))
	for _, text := range asked.Expressions {
		query, err := engine.NewInstantQuery(context.Background(), storage, nil, text, time.Unix(asked.At, 0))
		if err != nil {
			answers = append(answers, answer{Error: err.Error()})
			continue
		}
		one := answer{Metrics: metrics(query.Statement())}
		found := query.Exec(context.Background())
		if found.Err != nil {
			one.Error = found.Err.Error()
		} else if vector, err := found.Vector(); err == nil {
			for _, each := range vector {
				one.Result = append(one.Result, sample{each.Metric.Map(), each.F})
			}
		}
		query.Close()
		answers = append(answers, one)
	}
	json.NewEncoder(os.Stdout).Encode(answers)
}

// metrics names those that an expression asks for.
func metrics(statement parser.Statement) []string {
	var names []string
	parser.Inspect(statement.(*parser.EvalStmt).Expr, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			name := selector.Name
			for _, matcher := range selector.LabelMatchers {
				if matcher.Name == labels.MetricName {
					name = matcher.Value
				}
			}
			names = append(names, name)
		}
		return nil
	})
	slices.Sort(names)
	return slices.Compact(names)
}
