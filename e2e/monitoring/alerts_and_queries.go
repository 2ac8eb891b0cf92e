// Package monitoring reads the alert rules and dashboards that the chart ships, so that tests can evaluate them with a real
// Prometheus.
package monitoring

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/e2e/manifest"
)

// monitoringDir is the directory of the files, relative to the root of the checkout.
const monitoringDir = "charts/konductor/files/monitoring"

// Alert is an alert rule.
type Alert struct {
	Name        string            `json:"alert"`
	Expr        string            `json:"expr"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// RulesFile returns the path of the alert rules.
func RulesFile() (string, error) {
	root, err := manifest.RepoRoot()
	return filepath.Join(root, monitoringDir, "rules.yaml"), err
}

// ReadAlerts returns the alert rules.
func ReadAlerts() ([]Alert, error) {
	path, err := RulesFile()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file struct {
		Groups []struct {
			Rules []Alert `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var alerts []Alert
	for _, group := range file.Groups {
		alerts = append(alerts, group.Rules...)
	}
	return alerts, nil
}

// Query is a query of a dashboard's panel.
type Query struct {
	Dashboard, Panel string
	Expr             string
}

// ReadQueries returns the queries of all panels of all dashboards. Grafana's variable for the range of a rate is replaced with
// rateInterval, such as 1m.
func ReadQueries(rateInterval string) ([]Query, error) {
	root, err := manifest.RepoRoot()
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(root, monitoringDir, "dashboards", "*.json"))
	if err != nil {
		return nil, err
	}
	var queries []Query
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var dashboard struct {
			Title  string `json:"title"`
			Panels []struct {
				Title   string `json:"title"`
				Targets []struct {
					Expr string `json:"expr"`
				} `json:"targets"`
			} `json:"panels"`
		}
		if err := json.Unmarshal(text, &dashboard); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, panel := range dashboard.Panels {
			for _, target := range panel.Targets {
				queries = append(queries, Query{dashboard.Title, panel.Title, strings.ReplaceAll(target.Expr, "$__rate_interval", rateInterval)})
			}
		}
	}
	return queries, nil
}
