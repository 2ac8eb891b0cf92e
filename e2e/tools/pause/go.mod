module github.com/LogicIQ/konductor/e2e/tools/pause

go 1.26.0
