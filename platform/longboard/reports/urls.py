from django.urls import path

from longboard.reports import views

urlpatterns = [
    path("reports/new/", views.new_report, name="new-report"),
    path("reports/<int:report_id>/", views.report, name="report"),
    path("reports/<int:report_id>/withdraw/", views.withdraw, name="withdraw-report"),
]
