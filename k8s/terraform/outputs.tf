output "node_pools" {
  description = "Names of the node pools, one for each slice."
  value       = google_container_node_pool.slice[*].name
}

output "capacity" {
  description = "What an entry of the octjob chart's kueue.cluster.queues says of these pools."
  value = {
    topology    = var.topology
    slices      = var.slices
    spot        = var.spot
    reservation = var.reservation
  }
}
