from django.urls import path

from longboard.literature import views

urlpatterns = [
    path("efficiency/", views.efficiency, name="efficiency"),
    path("efficiency/theory/", views.theory, name="theory"),
    path("efficiency/crossover/", views.crossover, name="crossover"),
    path("efficiency/costs/", views.costs, name="costs"),
    path("efficiency/kernels/", views.kernels, name="kernels"),
    path("efficiency/<slug:slug>.json", views.report, name="efficiency-report"),
    path("efficiency/<str:slug>/", views.efficiency, name="efficiency-table"),
    path("efficiency/<str:slug>/<str:system>/", views.system, name="efficiency-system"),
    path("claims/", views.claims, name="claims"),
    path("claims.csv", views.claims_csv, name="claims-csv"),
    path("claims/<str:claim_id>/", views.claim, name="claim"),
    path("literature/", views.literature, name="literature"),
    path("literature/<str:paper_id>/", views.paper, name="paper"),
]
