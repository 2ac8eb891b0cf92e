// Package charts has the Helm chart, for the plugin that installs the same objects without Helm.
package charts

import "embed"

// Konductor has the chart in its folder konductor.
//
//go:embed all:konductor
var Konductor embed.FS
