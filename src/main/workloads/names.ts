/** The built-in workloads, for whoever only lists them. */
export const WORKLOADS = ['dense', 'sparse', 'manymaps', 'mixed'] as const;
/** The name of a built-in workload. */
export type WorkloadName = (typeof WORKLOADS)[number];
