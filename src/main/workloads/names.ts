/** The built-in workloads, in a file of their own for code that only lists them. */
export const WORKLOADS = ['dense', 'sparse', 'manymaps', 'mixed'] as const;
/** The name of a built-in workload. */
export type WorkloadName = (typeof WORKLOADS)[number];
