// Reads a JSON array of custom resources from standard input, and exits 1 with what is wrong with them.
import { readFileSync } from "node:fs";
import { ScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject";
import { PrometheusRule } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule";
import { ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor";

const kinds = { ScaledObject, PrometheusRule, ServiceMonitor };
let wrong = 0;
for (const resource of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    new kinds[resource.kind](resource).validate();
    console.log(`${resource.kind}/${resource.metadata.name}: valid`);
  } catch (error) {
    console.error(`${resource.kind}/${resource.metadata.name}: ${error.message}`);
    wrong += 1;
  }
}
process.exit(wrong ? 1 : 0);
