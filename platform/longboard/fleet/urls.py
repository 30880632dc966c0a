from django.urls import path

from longboard.fleet import views

urlpatterns = [
    path("hardware/", views.hardware_list, name="hardware-list"),
    path("hardware/<slug:slug>/", views.hardware, name="hardware"),
    path("nodes/", views.nodes, name="nodes"),
    path("nodes/<uuid:node_id>/", views.node, name="node"),
    path("nodes/<uuid:node_id>/state/", views.node_state, name="node-state"),
    path("pools/<slug:slug>/enrol/", views.enrol, name="enrol"),
]
